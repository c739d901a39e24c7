import { createHash } from 'node:crypto';
import type { WorkerDescriptor } from '../registry/index.js';

/** Workers of one fingerprint answer a request with the same bits: tokens, text and log-probabilities. */
export type SystemFingerprint = string & { readonly __brand: 'SystemFingerprint' };

type Origin = Pick<
  WorkerDescriptor,
  'modelRevision' | 'arithmetic' | 'precision' | 'imageProcessor' | 'codec' | 'profileId' | 'formats'
>;

const known = new WeakMap<Origin, SystemFingerprint>();

/**
 * Of everything that the bits of an answer depend on beside the request: weights, arithmetic, precision, rules for
 * pictures, and the forms in which keys and values are kept. Hashed once a record.
 */
export function systemFingerprint(record: Origin): SystemFingerprint {
  let fingerprint = known.get(record);
  if (fingerprint === undefined) known.set(record, (fingerprint = hashed(record)));
  return fingerprint;
}

function hashed({ modelRevision, arithmetic, precision, ...kept }: Origin): SystemFingerprint {
  const { imageProcessor, codec, profileId, formats } = kept;
  const all = JSON.stringify([
    modelRevision,
    arithmetic,
    precision,
    imageProcessor,
    codec,
    profileId,
    formats,
  ]);
  return `fp_${createHash('sha256').update(all).digest('hex').slice(0, 12)}` as SystemFingerprint;
}
