/** Who a request is made for. */
export interface Principal {
  /** Prefixes and features are shared within one tenant only. */
  readonly tenant: string;
}

/** All requests of a server that does not authenticate its clients. */
export const DEFAULT_PRINCIPAL: Principal = { tenant: 'default' };

/** Longest name of a tenant, in UTF-16 units. */
export const MAX_TENANT_LENGTH = 256;
