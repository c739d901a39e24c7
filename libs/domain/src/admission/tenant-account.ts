import { RateMeter } from './rate-meter.js';
import { PLAIN_TERMS, type TenantTerms } from './tenant-terms.js';
import { TokenBucket } from './token-bucket.js';

/** A cap would be exceeded. */
export interface OverCap {
  readonly cap: 'requests' | 'tokens';
  /** After so long it is worth another try: for tokens exact, for requests by how fast they end. */
  readonly retryAfterMs: number;
}

/** Where nothing is known about how fast requests end. */
const DEFAULT_RETRY_MS = 1_000;

/** What one tenant has in use on this router, against this router's share of its caps. */
export class TenantAccount {
  /** Routers among which its caps are shared. */
  #routers = 1;
  #requests = 0;
  #pages = 0;
  readonly #bucket: TokenBucket;
  readonly #ends = new RateMeter();

  constructor(readonly terms: TenantTerms) {
    this.#bucket = new TokenBucket(terms.caps.tokensPerMinute);
  }

  get requests(): number {
    return this.#requests;
  }

  get pages(): number {
    return this.#pages;
  }

  /** Its caps are those of so many routers together, alike for each. */
  shareAmong(routers: number, nowMs: number): void {
    if (routers === this.#routers) return;
    this.#routers = routers;
    this.#bucket.resize(this.terms.caps.tokensPerMinute / routers, nowMs);
  }

  /** One request more, until `close`; undefined where it may be. One that is in debt for tokens may not. */
  open(nowMs: number): OverCap | undefined {
    const owedMs = this.#bucket.take(0, nowMs);
    if (owedMs !== undefined) return { cap: 'tokens', retryAfterMs: owedMs };
    if (this.#requests >= this.#mostRequests) {
      this.#ends.start(nowMs);
      const rate = this.#ends.perSecond(nowMs);
      return { cap: 'requests', retryAfterMs: rate ? 1_000 / rate : DEFAULT_RETRY_MS };
    }
    this.#requests += 1;
    return undefined;
  }

  close(nowMs: number): void {
    this.#requests -= 1;
    this.#ends.event(nowMs);
    if (this.#requests < this.#mostRequests - 1) this.#ends.stop(nowMs);
  }

  charge(tokens: number, nowMs: number): OverCap | undefined {
    const retryAfterMs = this.#bucket.take(tokens, nowMs);
    return retryAfterMs === undefined ? undefined : { cap: 'tokens', retryAfterMs };
  }

  /** @param tokens what was used above what was charged; negative where it was less */
  settle(tokens: number): void {
    this.#bucket.settle(tokens);
  }

  /** One that is larger than the share, not than the cap, goes alone. */
  hasRoomFor(pages: number): boolean {
    const { pages: most } = this.terms.caps;
    return this.#pages + pages <= (this.#pages === 0 ? most : most / this.#routers);
  }

  /** Each router takes one at least, or a cap below their number would be none at all. */
  get #mostRequests(): number {
    return Math.max(1, Math.floor(this.terms.caps.requests / this.#routers));
  }

  hold(pages: number): void {
    this.#pages += pages;
  }

  release(pages: number): void {
    this.#pages -= pages;
  }
}

/** The accounts of all tenants; one about whom nothing is said has plain terms. */
export class TenantAccounts {
  readonly #accounts = new Map<string, TenantAccount>();
  #routers = 1;

  constructor(private readonly terms: ReadonlyMap<string, TenantTerms>) {}

  /** All caps are those of so many routers together. */
  shareAmong(routers: number, nowMs: number): void {
    if (routers === this.#routers) return;
    this.#routers = routers;
    for (const account of this.#accounts.values()) account.shareAmong(routers, nowMs);
  }

  of(tenant: string): TenantAccount {
    let account = this.#accounts.get(tenant);
    if (!account) {
      account = new TenantAccount(this.terms.get(tenant) ?? PLAIN_TERMS);
      account.shareAmong(this.#routers, 0);
      this.#accounts.set(tenant, account);
    }
    return account;
  }
}
