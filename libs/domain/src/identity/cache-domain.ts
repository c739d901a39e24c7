import { hashFields, Tag } from './fields.js';

/**
 * Who may find cached prefixes and features of pictures: one tenant's requests with one salt. SHA-256, in hex, so it
 * gives neither away. Names accept nothing else, so none can leave one of the two out.
 */
export type CacheDomain = string & { readonly __brand: 'CacheDomain' };

/** @param cacheSalt requests with another salt do not find this content; empty: shared within the tenant */
export function cacheDomain(tenant: string, cacheSalt: string): CacheDomain {
  return hashFields(Tag.CacheDomain, [
    [Tag.Tenant, tenant],
    [Tag.CacheSalt, cacheSalt],
  ]) as CacheDomain;
}
