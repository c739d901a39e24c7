import { isIP } from 'node:net';
import { KvcError } from '@kvcapsule/contracts';
import { Agent, fetch as directFetch } from 'undici';

export { prefers } from './accept.js';

/** A dispatcher that no environment variable turns into a proxy's. */
const direct = new Agent();

/**
 * The root of a server from whatever people paste: with a slash at its end, with `/v1`, with both.
 *
 * @throws KvcError CONFIG_INVALID when it is no http(s) URL
 */
export function serverRoot(url: string): string {
  if (!URL.canParse(url) || !/^https?:/i.test(url))
    throw new KvcError('CONFIG_INVALID', `${url} is not an http(s) URL, such as http://127.0.0.1:8000`);
  return url.replace(/\/+$/, '').replace(/\/v1$/, '').replace(/\/+$/, '');
}

/** Whether a URL leads to this machine: nothing between may be asked for it. */
export function isLocal(url: string): boolean {
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
  if (host === 'localhost' || host.endsWith('.localhost') || host === '::1' || host === '::') return true;
  return isIP(host) === 4 && (host.startsWith('127.') || host === '0.0.0.0');
}

/**
 * `fetch` for a server of this project: on this machine always straight, whatever proxies the environment names;
 * elsewhere as Node does (`NODE_USE_ENV_PROXY`).
 */
export function serverFetch(url: string, init: RequestInit = {}): Promise<Response> {
  if (!isLocal(url)) return fetch(url, init);
  const options = { ...init, dispatcher: direct } as Parameters<typeof directFetch>[1];
  return directFetch(url, options);
}
