/** Who a request is made for. */
export interface Principal {
  /** Prefixes and features are shared within one tenant only. */
  readonly tenant: string;
  /** Of its share of what tenants take turns at, beside others'. */
  readonly weight: number;
}

/** All requests of a server that does not authenticate its clients. */
export const DEFAULT_PRINCIPAL: Principal = { tenant: 'default', weight: 1 };

/** Longest name of a tenant, in UTF-16 units. */
export const MAX_TENANT_LENGTH = 256;
