import type { DescribeFormatsResponse, StoredPart as WirePart } from '@kvcapsule/contracts/worker';
import type { StoredFormat, StoredPart } from '@kvcapsule/engine';

const partOf = ({ bytes, rawBytes, keptEnergy }: StoredPart): WirePart => ({
  ...{ bytes: BigInt(Math.round(bytes)), rawBytes: BigInt(rawBytes) },
  keptEnergy,
});

export function formatsOnWire(formats: readonly StoredFormat[]): DescribeFormatsResponse {
  return {
    formats: formats.map(({ layers, headerBytes, ...format }) => ({
      ...format,
      headerBytes: BigInt(Math.round(headerBytes)),
      layers: layers.map(({ keys, values }) => ({ keys: partOf(keys), values: partOf(values) })),
    })),
  };
}

/** Asked for once and then known; after a failure asked again. */
export function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let known: Promise<T> | undefined;
  return () => {
    known ??= ask().catch((error: unknown) => {
      known = undefined;
      throw error;
    });
    return known;
  };
}
