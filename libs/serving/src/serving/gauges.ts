import type { Holding, Scheduler } from '@kvcapsule/domain/scheduling';

import { type EngineGeometry, rawTokenBytes } from './geometry.js';

/** Bytes of the pages that hold something in one codec, and those of them that something was written to. */
export interface CodecBytes {
  held: number;
  written: number;
}

/** A worker's pool at one moment. */
export interface KvGauges {
  readonly freePages: number;
  readonly heldPages: number;
  readonly cachedPages: number;
  /** Zeros for a codec that the engine serves and nobody uses. */
  readonly bytes: ReadonlyMap<string, CodecBytes>;
  /** What the same keys and values would take as raw 16-bit rows. */
  readonly rawEquivalentBytes: number;
}

export function kvGauges(scheduler: Scheduler, geometry: EngineGeometry): KvGauges {
  const tokens = scheduler.running.reduce((sum, id) => sum + scheduler.pages(id).tokens, 0);
  const { freePages, heldPages, cachedPages } = scheduler.pool;
  return {
    ...{ freePages, heldPages, cachedPages },
    bytes: bytesByCodec(scheduler.holdings(), geometry),
    rawEquivalentBytes: tokens * rawTokenBytes(geometry),
  };
}

function bytesByCodec(
  holdings: ReadonlyMap<number | undefined, Holding>,
  geometry: EngineGeometry,
): Map<string, CodecBytes> {
  const codecs = new Set(['raw', ...geometry.formats.map(({ codec }) => codec)]);
  const byCodec = new Map([...codecs].map((codec) => [codec, { held: 0, written: 0 }]));
  for (const [number, holding] of holdings) {
    const format = number === undefined ? undefined : geometry.formats[number];
    const bytes = byCodec.get(format?.codec ?? 'raw');
    if (!bytes) continue;
    bytes.held += holding.pages * geometry.pageBytes;
    bytes.written += writtenBytes(holding, format, geometry);
  }
  return byCodec;
}

function writtenBytes(
  { pieces, tokens }: Holding,
  format: EngineGeometry['formats'][number] | undefined,
  { pageBytes, pagesPerBlock, blockTokens }: EngineGeometry,
): number {
  if (!format) return (tokens * pageBytes * pagesPerBlock) / blockTokens;
  if (format.tokens > 0) return pieces * format.bytes;
  return pieces * format.headerBytes + tokens * format.bytesPerToken;
}
