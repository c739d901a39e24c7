import type { IncomingHttpHeaders } from 'node:http';
import { KvcError } from '@kvcapsule/contracts/errors';

/** Browsers of this decade tell the site, towards https and loopback; others at least the origin. */
function isOfAnotherOrigin({ 'sec-fetch-site': site, origin, host }: IncomingHttpHeaders): boolean {
  if (site !== undefined) return site !== 'same-origin' && site !== 'none';
  return origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host?.toLowerCase());
}

/**
 * Refuses what a page of another origin may have a browser send without asking first: a POST such as a form makes.
 * Where no keys are set, any page that somebody opens beside a server on loopback could take its workers out of service
 * otherwise. Bodies of JSON are asked for, and answered, by the rules of `--cors-origin`.
 */
export function refuseForeignPage(
  method: string,
  headers: IncomingHttpHeaders,
  allowed: readonly string[],
): void {
  if (method !== 'POST' || /^application\/json\b/i.test(headers['content-type'] ?? '')) return;
  if (!isOfAnotherOrigin(headers) || allowed.includes('*') || allowed.includes(headers.origin ?? '')) return;
  throw new KvcError(
    'PERMISSION_DENIED',
    'A page of another origin may not ask for this: --cors-origin names those that may.',
  );
}
