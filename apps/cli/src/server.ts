import { serverFetch, serverRoot } from '@kvcapsule/platform/http';
import { type Command, Option } from 'commander';
import { z } from 'zod';
import { CliError } from './failure.js';

export interface Server {
  /** Without `/v1` and without a slash at its end. */
  readonly url: string;
  readonly apiKey?: string | undefined;
}

export interface ServerOptions {
  readonly url: string;
  readonly apiKey?: string;
}

export const urlOption = (): Option =>
  new Option('--url <url>', 'where the server listens').env('KVCAPSULE_URL').default('http://127.0.0.1:8000');

/** The options that say which server is asked. */
export function serverOptions(command: Command, key = 'key of the server'): Command {
  return command
    .addOption(urlOption())
    .addOption(new Option('--api-key <key>', key).env('KVCAPSULE_API_KEY'));
}

export const serverOf = ({ url, apiKey }: ServerOptions): Server => ({ url: serverRoot(url), apiKey });

export const ErrorBody = z.object({
  error: z.object({ message: z.string(), code: z.string().nullish() }),
});

/** Nobody listens there: it may be on its way. */
export class NobodyAnswers extends CliError {
  constructor(url: string, error: unknown) {
    super(
      `Nothing answers at ${url}${whyOf(error)}.`,
      'Start it with ./kvcapsule up, or name another with --url.',
    );
  }
}

/** Why `fetch` met no answer, in brackets: a certificate that is not trusted looks like a server that is not there. */
export function whyOf(error: unknown): string {
  const { name, cause } = error as { readonly name?: string; readonly cause?: unknown };
  if (name === 'TimeoutError') return ' in time';
  const { code, message } = (cause ?? {}) as { readonly code?: unknown; readonly message?: unknown };
  const word = [code, message].find((one) => typeof one === 'string' && one !== '');
  return word === undefined ? '' : ` (${word as string})`;
}

const IS_IT = 'Is it a KVCapsule server, of this version? Name another with --url.';

/**
 * A GET, or a POST where there is a body.
 *
 * @throws CliError with the server's own message when it refuses; NobodyAnswers
 */
export async function request(server: Server, path: string, init: RequestInit = {}): Promise<Response> {
  const headers = {
    ...(init.body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(server.apiKey === undefined ? {} : { authorization: `Bearer ${server.apiKey}` }),
  };
  const response = await serverFetch(server.url + path, { ...init, headers }).catch((error: unknown) => {
    throw new NobodyAnswers(server.url, error);
  });
  if (response.ok) return response;
  const failed = ErrorBody.safeParse(await jsonOf(response));
  throw failed.success
    ? refusal(failed.data)
    : new CliError(`${server.url} answered ${String(response.status)}.`, IS_IT);
}

/** Servers of this project answer what is asked here at once. */
const ANSWER_MS = 15_000;
/** A snapshot of a thousand workers has 1 MB. */
const MOST_BYTES = 64 * 2 ** 20;

/** What an answer says; undefined where that is no JSON, or far more than a server of this project sends. */
export async function jsonOf({ body }: Response): Promise<unknown> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const piece of (body ?? []) as AsyncIterable<Uint8Array>) {
      bytes += piece.length;
      if (bytes > MOST_BYTES) return undefined;
      pieces.push(piece);
    }
    return JSON.parse(Buffer.concat(pieces).toString());
  } catch {
    return undefined;
  }
}

/**
 * The same, its answer checked.
 *
 * @throws NobodyAnswers where none begins within 15 s, CliError where it is not that
 */
export async function requestJson<S extends z.ZodType>(
  server: Server,
  path: string,
  schema: S,
  init: RequestInit = {},
): Promise<z.output<S>> {
  const response = await request(server, path, { signal: AbortSignal.timeout(ANSWER_MS), ...init });
  const told = await jsonOf(response);
  const { data, error } = schema.safeParse(told);
  if (!error) return data;
  // what a newer server tells beyond that is none of this version's business
  if (error.issues.every(({ code }) => code === 'unrecognized_keys')) return told as z.output<S>;
  throw new CliError(`${server.url}${path} answers in another form than this version knows.`, IS_IT);
}

const HINTS: Readonly<Record<string, string>> = {
  invalid_api_key: 'Give the key with --api-key or KVCAPSULE_API_KEY.',
  permission_denied: 'Give a key of the router’s --admin-api-key.',
};

/** What the words of a server may do to a terminal. */
const CONTROLS = /\p{Cc}+/gu;

export function refusal({ error }: z.infer<typeof ErrorBody>): CliError {
  const code = (error.code ?? '').replaceAll(CONTROLS, ' ');
  const message = error.message.replaceAll(CONTROLS, ' ');
  return new CliError(`The server refused: ${message}${code === '' ? '' : ` (${code})`}`, HINTS[code]);
}
