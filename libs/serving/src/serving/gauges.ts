import type { PoolFigures } from '@kvcapsule/domain/registry';
import type { Holding, Scheduler } from '@kvcapsule/domain/scheduling';

import { type EngineGeometry, rawTokenBytes } from './geometry.js';

/** Bytes of the pages that hold something in one codec, and those of them that something was written to. */
export interface CodecBytes {
  held: number;
  written: number;
  /** The same tokens as raw 16-bit rows. */
  raw: number;
}

/** A worker's pool at one moment. */
export interface KvGauges {
  readonly freePages: number;
  readonly heldPages: number;
  readonly cachedPages: number;
  /** Of one page. */
  readonly pageBytes: number;
  /** Kept outside the pool. */
  readonly swappedPages: number;
  /** Zeros for a codec that the engine serves and nobody uses. */
  readonly bytes: ReadonlyMap<string, CodecBytes>;
  /** What the same keys and values would take as raw 16-bit rows. */
  readonly rawEquivalentBytes: number;
}

export function kvGauges(scheduler: Scheduler, geometry: EngineGeometry): KvGauges {
  const { freePages, heldPages, cachedPages } = scheduler.pool;
  return {
    ...{
      freePages,
      heldPages,
      cachedPages,
      pageBytes: geometry.pageBytes,
      swappedPages: scheduler.swappedPages,
    },
    bytes: bytesByCodec(scheduler.holdings(), geometry),
    rawEquivalentBytes: runningTokens(scheduler) * rawTokenBytes(geometry),
  };
}

/** What a worker tells of its pool with its heartbeats. */
export function poolFigures(
  scheduler: Scheduler,
  geometry: EngineGeometry,
  drawnTokens: number,
): PoolFigures {
  const { heldPages, cachedPages } = scheduler.pool;
  const rawPages = scheduler.holdings().get(undefined)?.pages ?? 0;
  const tokens = runningTokens(scheduler) + scheduler.cachedContentTokens;
  return {
    ...{ rawPages, capsulePages: Math.max(0, heldPages - rawPages), cachedPages },
    swappedPages: scheduler.swappedPages,
    rawBytes: tokens * rawTokenBytes(geometry),
    drawnTokens,
  };
}

function runningTokens(scheduler: Scheduler): number {
  return scheduler.running.reduce((sum, id) => sum + scheduler.pages(id).tokens, 0);
}

function bytesByCodec(
  holdings: ReadonlyMap<number | undefined, Holding>,
  geometry: EngineGeometry,
): Map<string, CodecBytes> {
  const codecs = new Set(['raw', ...geometry.formats.map(({ codec }) => codec)]);
  const byCodec = new Map([...codecs].map((codec) => [codec, { held: 0, written: 0, raw: 0 }]));
  for (const [number, holding] of holdings) {
    const format = number === undefined ? undefined : geometry.formats[number];
    const bytes = byCodec.get(format?.codec ?? 'raw');
    if (!bytes) continue;
    bytes.held += holding.pages * geometry.pageBytes;
    bytes.written += writtenBytes(holding, format, geometry);
    bytes.raw += holding.tokens * rawTokenBytes(geometry);
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
