import { createHash, timingSafeEqual } from 'node:crypto';
import { KvcError } from '@kvcapsule/contracts/errors';
import { DEFAULT_PRINCIPAL, type Principal } from '@kvcapsule/domain/request';
import type { FastifyRequest } from 'fastify';

const digest = (text: string) => createHash('sha256').update(text).digest();

/**
 * Checks the bearer token of everything under /v1. Goes by the route that matched, so that no spelling of the
 * path slips past; runs before the body is read. Time does not depend on how much of a key was guessed.
 */
export function keyCheck(apiKeys: readonly string[]): (request: FastifyRequest) => Promise<void> {
  const known = apiKeys.map(digest);
  return (request) => {
    if (known.length === 0 || !request.routeOptions.url?.startsWith('/v1/')) return Promise.resolve();
    const given = digest(/^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1] ?? '');
    const matches = known.filter((key) => timingSafeEqual(key, given));
    if (matches.length > 0) return Promise.resolve();
    return Promise.reject(new KvcError('INVALID_API_KEY', 'A key of this server is needed as bearer token.'));
  };
}

/** On whose account a request runs that has passed the check: every key is the one tenant's. */
export function principalOf(): Principal {
  return DEFAULT_PRINCIPAL;
}
