/** What an operator grants one tenant. */
export interface TenantTerms {
  /** Share of what is served while others wait too, relative to the other tenants' weights. */
  readonly weight: number;
  /** Priorities its requests may have; what is outside is taken for the nearest. */
  readonly priority: { readonly min: number; readonly max: number };
  readonly caps: TenantCaps;
}

/** Bounds of one tenant on all routers together; `Infinity` where there is none. */
export interface TenantCaps {
  /** Requests that wait or run at one time. */
  readonly requests: number;
  /** Tokens of prompts and answers a minute; as many may come at once. */
  readonly tokensPerMinute: number;
  /** KV pages that its requests hold at one time, over all models. */
  readonly pages: number;
}

/** Of a tenant about which nothing is said. */
export const PLAIN_TERMS: TenantTerms = {
  weight: 1,
  priority: { min: -Infinity, max: Infinity },
  caps: { requests: Infinity, tokensPerMinute: Infinity, pages: Infinity },
};
