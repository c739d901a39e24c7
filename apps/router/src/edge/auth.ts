import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { KvcError } from '@kvcapsule/contracts/errors';
import { PLAIN_TERMS, type TenantTerms } from '@kvcapsule/domain/admission';
import { DEFAULT_PRINCIPAL, type Principal } from '@kvcapsule/domain/request';
import type { FastifyRequest } from 'fastify';
import type { Settings } from '../settings.js';

/** On whose account a request runs, and what priorities it may have. */
export interface Caller {
  readonly principal: Principal;
  readonly priority: TenantTerms['priority'];
  /** Whether operators' routes are open to it. */
  readonly isAdmin: boolean;
}

/** Where nobody needs a key, nothing is closed to anybody. */
const OPEN_CALLER: Caller = { principal: DEFAULT_PRINCIPAL, priority: PLAIN_TERMS.priority, isAdmin: true };

/** Routes that want an admin's key. */
const ADMIN_ROUTES: readonly string[] = [
  ...['/v1/placement/explain', '/v1/placement/receipts/:id'],
  ...['/v1/cluster/workers/:id/drain', '/v1/cluster/workers/:id/resume'],
];

const callers = new WeakMap<IncomingMessage, Caller>();

/** Whose key a request brought that has passed the check; where nobody needs one, the default tenant's. */
export function callerOf(request: IncomingMessage): Caller {
  return callers.get(request) ?? OPEN_CALLER;
}

type KeySettings = Pick<Settings, 'apiKeys' | 'adminApiKeys' | 'tenants'>;

const digest = (text: string) => createHash('sha256').update(text).digest();

/** Callers by their keys. A look-up takes as long for one key as for thousands. */
class Keys {
  /** What a look-up compares depends on it, so its time tells nobody how much of a key was guessed. */
  readonly #secret = randomBytes(32);
  readonly #known = new Map<string, { readonly hash: Buffer; readonly caller: Caller }>();

  constructor({ apiKeys, adminApiKeys, tenants }: KeySettings) {
    const ofDefault = tenants.find(({ name }) => name === DEFAULT_PRINCIPAL.tenant);
    const { priority } = ofDefault ?? OPEN_CALLER;
    const principal = { ...DEFAULT_PRINCIPAL, weight: ofDefault?.weight ?? DEFAULT_PRINCIPAL.weight };
    for (const key of apiKeys) this.#add(digest(key), { principal, priority, isAdmin: false });
    for (const { name: tenant, weight, priority, keyHashes } of tenants)
      for (const hash of keyHashes)
        this.#add(hash, { principal: { tenant, weight }, priority, isAdmin: false });
    for (const key of adminApiKeys) this.#add(digest(key), { principal, priority, isAdmin: true });
  }

  get size(): number {
    return this.#known.size;
  }

  find(key: string): Caller | undefined {
    const hash = digest(key);
    const known = this.#known.get(this.#index(hash));
    return known && timingSafeEqual(known.hash, hash) ? known.caller : undefined;
  }

  #add(hash: Buffer, caller: Caller): void {
    this.#known.set(this.#index(hash), { hash, caller });
  }

  #index(hash: Buffer): string {
    return createHmac('sha256', this.#secret).update(hash).digest('base64');
  }
}

/**
 * Checks the bearer token of everything under /v1. Goes by the route that matched, so that no spelling of the
 * path slips past; runs before the body is read.
 */
export function keyCheck(settings: KeySettings): (request: FastifyRequest) => Promise<void> {
  const keys = new Keys(settings);
  return (request) => {
    if (keys.size === 0 || !request.routeOptions.url?.startsWith('/v1/')) return Promise.resolve();
    const caller = keys.find(/^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1] ?? '');
    if (!caller)
      return Promise.reject(
        new KvcError('INVALID_API_KEY', 'A key of this server is needed as bearer token.'),
      );
    if (!caller.isAdmin && ADMIN_ROUTES.includes(request.routeOptions.url))
      return Promise.reject(new KvcError('PERMISSION_DENIED', 'This route wants a key of --admin-api-key.'));
    callers.set(request.raw, caller);
    return Promise.resolve();
  };
}
