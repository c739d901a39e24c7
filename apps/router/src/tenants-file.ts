import { DEFAULT_PRINCIPAL } from '@kvcapsule/domain/request';
import { z } from 'zod';
import { readJsonFile } from './json-file.js';
import type { TenantSettings } from './settings.js';

const MOST_TENANTS = 10_000;
const MOST_KEYS = 100;
const MOST_TOKENS = 1e12;

const priority = z
  .int()
  .min(-(2 ** 31))
  .max(2 ** 31 - 1);
const cap = (most: number) => z.int().min(1).max(most).optional();

const tenantSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[\w.-]{1,64}$/, 'up to 64 letters, digits and the signs . _ -')
      .refine((name) => name !== 'other', 'other stands for several tenants in metrics'),
    weight: z.number().min(0.001).max(1_000).default(1),
    priority: z
      .strictObject({ min: priority.optional(), max: priority.optional() })
      .refine(({ min = -Infinity, max = Infinity }) => min <= max, 'min is above max')
      .default({}),
    limits: z
      .strictObject({
        requests: cap(1_000_000),
        tokensPerMinute: cap(MOST_TOKENS),
        pages: cap(MOST_TOKENS),
      })
      .default({}),
    keySha256: z
      .array(z.string().regex(/^[0-9a-f]{64}$/, 'not a SHA-256 in 64 lower-case hexadecimal digits'))
      .max(MOST_KEYS)
      .default([]),
  })
  .transform(({ name, weight, priority, limits, keySha256 }): TenantSettings => ({
    ...{ name, weight },
    priority: { min: priority.min ?? -Infinity, max: priority.max ?? Infinity },
    caps: {
      requests: limits.requests ?? Infinity,
      tokensPerMinute: limits.tokensPerMinute ?? Infinity,
      pages: limits.pages ?? Infinity,
    },
    keyHashes: keySha256.map((hash) => Buffer.from(hash, 'hex')),
  }));

const fileSchema = z.strictObject({ tenants: z.array(tenantSchema).min(1).max(MOST_TENANTS) });

/** Names and keys stand once each: which of two entries held would be a matter of their order. */
function conflicts(tenants: readonly TenantSettings[]): string[] {
  const faults: string[] = [];
  const names = new Set<string>();
  const keys = new Set<string>();
  tenants.forEach(({ name, keyHashes }, index) => {
    const at = `tenants.${index}`;
    if (names.has(name)) faults.push(`${at}.name: another tenant has this name`);
    names.add(name);
    // the default tenant's keys may be those of --api-key
    if (keyHashes.length === 0 && name !== DEFAULT_PRINCIPAL.tenant)
      faults.push(`${at}.keySha256: no key is given, so nobody could be this tenant`);
    keyHashes.forEach((hash, key) => {
      const text = hash.toString('hex');
      if (keys.has(text)) faults.push(`${at}.keySha256.${key}: this key is there twice`);
      keys.add(text);
    });
  });
  return keys.size > 0 ? faults : [...faults, 'tenants: no tenant has a key'];
}

/** Throws `CONFIG_INVALID` naming the file and the places at fault, never a value. */
export function readTenants(file: string): readonly TenantSettings[] {
  const faultsOf = ({ tenants }: z.output<typeof fileSchema>) => conflicts(tenants);
  return readJsonFile({ flag: '--tenants', file, schema: fileSchema, faultsOf }).tenants;
}
