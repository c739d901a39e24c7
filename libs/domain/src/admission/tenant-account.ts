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

/** What one tenant has in use on this router, against its caps. */
export class TenantAccount {
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

  /** One request more, until `close`; undefined where it may be. One that is in debt for tokens may not. */
  open(nowMs: number): OverCap | undefined {
    const owedMs = this.#bucket.take(0, nowMs);
    if (owedMs !== undefined) return { cap: 'tokens', retryAfterMs: owedMs };
    if (this.#requests >= this.terms.caps.requests) {
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
    if (this.#requests < this.terms.caps.requests - 1) this.#ends.stop(nowMs);
  }

  charge(tokens: number, nowMs: number): OverCap | undefined {
    const retryAfterMs = this.#bucket.take(tokens, nowMs);
    return retryAfterMs === undefined ? undefined : { cap: 'tokens', retryAfterMs };
  }

  /** @param tokens what was used above what was charged; negative where it was less */
  settle(tokens: number): void {
    this.#bucket.settle(tokens);
  }

  hasRoomFor(pages: number): boolean {
    return this.#pages + pages <= this.terms.caps.pages;
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

  constructor(private readonly terms: ReadonlyMap<string, TenantTerms>) {}

  of(tenant: string): TenantAccount {
    let account = this.#accounts.get(tenant);
    if (!account) {
      account = new TenantAccount(this.terms.get(tenant) ?? PLAIN_TERMS);
      this.#accounts.set(tenant, account);
    }
    return account;
  }
}
