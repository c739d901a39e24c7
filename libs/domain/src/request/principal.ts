/** Who a request is made for. */
export interface Principal {
  /** Prefixes and features are shared within one tenant only. */
  readonly tenant: string;
}

/** Whoever has not been told apart. */
export const DEFAULT_PRINCIPAL: Principal = { tenant: 'default' };
