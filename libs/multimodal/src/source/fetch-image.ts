import { KvcError } from '@kvcapsule/contracts';
import PQueue from 'p-queue';
import { Agent, type Dispatcher, EnvHttpProxyAgent, errors, request } from 'undici';
import { BlockedAddressError, guardedLookup, refuseLiteral, refuseResolved } from './address-guard.js';

/** What may be loaded, and from where. */
export interface ImagePolicy {
  /** Hosts, `name` or `name:port`, IPv6 in brackets, that are fetched from even though their addresses are not public. */
  readonly allowHosts: readonly string[];
  /** Most bytes of one encoded picture. */
  readonly maxBytes: number;
  readonly maxPixels: number;
  /** From the first look-up to the last byte. */
  readonly fetchTimeoutMs: number;
}

const MIB = 1024 * 1024;

export const DEFAULT_IMAGE_POLICY: ImagePolicy = {
  allowHosts: [],
  maxBytes: 20 * MIB,
  maxPixels: 50_000_000,
  fetchTimeoutMs: 10_000,
};

export interface FetchOptions {
  readonly param: string;
  readonly policy: ImagePolicy;
  readonly signal?: AbortSignal | undefined;
}

const MAX_REDIRECTS = 3;
const CONNECT_TIMEOUT_MS = 4_000;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
// Some servers refuse requests that do not say who asks; compressed answers would hide the true size.
const HEADERS = {
  'user-agent': 'KVCapsule/0.1 (picture fetch)',
  accept: 'image/png,image/jpeg,image/webp,image/gif',
  'accept-encoding': 'identity',
};

/** Wide enough that servers which never answer do not hold up the pictures of others. */
const fetches = new PQueue({ concurrency: 32 });

function isAllowed(url: URL, { allowHosts }: ImagePolicy): boolean {
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return allowHosts.some((host) => [url.hostname, `${url.hostname}:${port}`].includes(host.toLowerCase()));
}

function failed(param: string, url: URL, what: string, cause?: unknown): KvcError {
  return new KvcError('IMAGE_FETCH_FAILED', `${url.hostname} ${what}`, { param, cause });
}

function tooLarge(param: string, maxBytes: number): KvcError {
  return new KvcError('IMAGE_TOO_LARGE', `the picture has more than ${maxBytes} bytes`, { param });
}

async function readBody(
  answer: Dispatcher.ResponseData,
  maxBytes: number,
  param: string,
): Promise<Uint8Array> {
  if (Number(answer.headers['content-length']) > maxBytes) throw tooLarge(param, maxBytes);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLarge(param, maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The next place to ask, or the picture. */
type Hop = { readonly next: URL } | { readonly bytes: Uint8Array };

function redirectTarget(url: URL, location: unknown, param: string): URL {
  if (typeof location !== 'string' || !URL.canParse(location, url.href))
    throw failed(param, url, 'redirects without a valid location');
  const next = new URL(location, url);
  if (next.protocol !== 'http:' && next.protocol !== 'https:')
    throw new KvcError('IMAGE_URL_BLOCKED', `${url.hostname} redirects to another scheme than http(s)`, {
      param,
    });
  return next;
}

/** Whether the environment names a proxy; `no_proxy` may still leave a host out. */
function hasProxy(): boolean {
  const names = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'];
  return names.some((name) => Boolean(process.env[name]));
}

async function hop(url: URL, { param, policy, signal }: FetchOptions): Promise<Hop> {
  const allowed = isAllowed(url, policy);
  if (!allowed) refuseLiteral(url);
  // the proxy looks the name up by itself: what can be known of it here is looked at before it is asked
  if (!allowed && hasProxy()) await refuseResolved(url);
  const agent = new (hasProxy() ? EnvHttpProxyAgent : Agent)({
    allowH2: false,
    connections: 1,
    connect: allowed
      ? { timeout: CONNECT_TIMEOUT_MS }
      : { timeout: CONNECT_TIMEOUT_MS, lookup: guardedLookup },
    // One deadline over all hops takes their place.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  try {
    const answer = await request(url, { dispatcher: agent, headers: HEADERS, signal: signal ?? null });
    if (REDIRECTS.has(answer.statusCode))
      return { next: redirectTarget(url, answer.headers['location'], param) };
    if (answer.statusCode !== 200) throw failed(param, url, `answered ${answer.statusCode}`);
    return { bytes: await readBody(answer, policy.maxBytes, param) };
  } finally {
    // Also drops an answer that was not read to its end, so no socket outlives the fetch.
    await agent.destroy();
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof errors.ConnectTimeoutError) return 'did not take the connection in time';
  if (error instanceof errors.ResponseContentLengthMismatchError)
    return 'sent another length than it announced';
  switch ((error as NodeJS.ErrnoException).code) {
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'is not a known host name';
    case 'ECONNREFUSED':
      return 'refused the connection';
    default:
      return 'broke off or did not answer properly';
  }
}

async function follow(start: URL, options: FetchOptions): Promise<Uint8Array> {
  const { param, policy } = options;
  const deadline = AbortSignal.timeout(policy.fetchTimeoutMs);
  const signal = options.signal ? AbortSignal.any([options.signal, deadline]) : deadline;
  let url = start;
  try {
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
      const result = await hop(url, { param, policy, signal });
      if ('bytes' in result) return result.bytes;
      url = result.next;
    }
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof KvcError) throw error;
    if (error instanceof BlockedAddressError)
      throw new KvcError('IMAGE_URL_BLOCKED', `${url.hostname} is not a public address`, { param });
    if (deadline.aborted)
      throw failed(param, url, `did not send the picture within ${policy.fetchTimeoutMs / 1000} s`);
    throw failed(param, url, reasonOf(error), error);
  }
  throw failed(param, start, `redirects more than ${MAX_REDIRECTS} times`);
}

/**
 * Fetches a picture's bytes. Each hop is checked by itself, and the address that was checked is the one that
 * is connected to.
 *
 * @throws KvcError IMAGE_URL_BLOCKED, IMAGE_FETCH_FAILED, IMAGE_TOO_LARGE; `signal`'s reason when that fires
 */
export async function fetchImage(url: URL, options: FetchOptions): Promise<Uint8Array> {
  options.signal?.throwIfAborted();
  return fetches.add(() => follow(url, options), options.signal ? { signal: options.signal } : {});
}
