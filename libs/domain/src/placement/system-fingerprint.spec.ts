import { describe, expect, it } from 'vitest';

import { systemFingerprint } from './system-fingerprint.js';

const ORIGIN = {
  ...{ modelRevision: 'm', arithmetic: 'cpu-avx2-1', precision: 'f16/f16', imageProcessor: 'i' },
  ...{ codec: 'raw', profileId: '', formats: [] },
};

describe('systemFingerprint', () => {
  it('is short, and the same for equal workers', () => {
    expect(systemFingerprint(ORIGIN)).toMatch(/^fp_[0-9a-f]{12}$/);
    expect(systemFingerprint({ ...ORIGIN })).toBe(systemFingerprint(ORIGIN));
  });

  it.each(['modelRevision', 'arithmetic', 'precision', 'imageProcessor', 'codec', 'profileId'])(
    'is another one with another %s',
    (field) => {
      expect(systemFingerprint({ ...ORIGIN, [field]: 'other' })).not.toBe(systemFingerprint(ORIGIN));
    },
  );

  it('does not depend on what else a worker says of itself', () => {
    const record = { ...ORIGIN, workerId: 'w', epoch: 3, capacityPages: 9 };
    expect(systemFingerprint(record)).toBe(systemFingerprint(ORIGIN));
  });
});
