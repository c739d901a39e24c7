import type { ClusterFormat } from '@kvcapsule/contracts/cluster';
import { expect, it } from 'vitest';
import { retentionOf } from './retention.js';

const part = (bytes: number, raw: number, energy: number | null = null) => ({
  ...{ bytes, raw_bytes: raw, kept_energy: energy },
});
const common = { profile: null, covers_markers: true, header_bytes: 64, varies: false };
/** Two layers of one head of 8 channels: 16 bytes a raw row of keys. */
const FORMATS: ClusterFormat[] = [
  {
    ...{ ...common, codec: 'q8', tokens: 0 },
    layers: [
      { keys: part(10, 16), values: part(10, 16) },
      { keys: part(10, 16), values: part(10, 16) },
    ],
  },
  ...[12, 20, 20].map((tokens, at) => ({
    ...{ ...common, codec: 'mixed', tokens, varies: true },
    layers: [
      { keys: part(tokens + at, 16 * tokens, 0.9), values: part(tokens, 16 * tokens) },
      { keys: part(2 * tokens, 16 * tokens), values: part(tokens, 16 * tokens) },
    ],
  })),
  {
    ...{ ...common, codec: 'rows', tokens: 16, covers_markers: false },
    layers: [
      { keys: part(128, 256), values: part(64, 256) },
      { keys: part(64, 256), values: part(32, 256) },
    ],
  },
];
const rawOf = (tokens: number) => tokens * 4 * 16;
const of = (codec: string, tokens: number) => retentionOf(FORMATS, codec, rawOf(tokens));

it('is of the last format of the codec that has as many rows as the picture', () => {
  expect(of('mixed', 20)).toMatchObject({ tokens: 20, rawTokens: 0, isMean: true });
  expect(of('mixed', 20)?.layers[0]?.keys).toEqual({ bytes: 22, bits: 1.1, energy: 0.9 });
  expect(of('mixed', 12)?.layers[1]?.keys).toMatchObject({ bytes: 24, bits: 2 });
  expect(of('mixed', 13)).toBeUndefined();
});

it('tells of the visual tokens alone where markers lie raw beside them', () => {
  expect(of('rows', 20)).toMatchObject({ tokens: 16, rawTokens: 4, isMean: false });
  expect(of('rows', 20)?.layers.map(({ keys, values }) => [keys.bits, values.bits])).toEqual([
    [8, 4],
    [4, 2],
  ]);
  expect(of('rows', 15)).toBeUndefined();
});

it('counts a format of any number of rows by the picture’s', () => {
  expect(of('q8', 7)?.layers[1]?.values).toEqual({ bytes: 70, bits: 10, energy: null });
});

it('has all 16 bits of raw rows', () => {
  expect(of('raw', 20)).toMatchObject({ tokens: 0, rawTokens: 20 });
  expect(of('raw', 20)?.layers[0]?.keys).toEqual({ bytes: 320, bits: 16, energy: 1 });
  expect(retentionOf([], 'raw', 320)).toBeUndefined();
});
