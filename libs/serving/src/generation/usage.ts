import type { KeptSpan } from '@kvcapsule/domain/scheduling';

import { type EngineGeometry, rawTokenBytes } from '../serving/geometry.js';
import type { Generation } from './generation.js';

export interface KvBytes {
  readonly bytes: number;
  /** The same tokens as raw 16-bit rows. */
  readonly rawBytes: number;
}

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cachedTokens: number;
  /** What the prompt holds in the pool, rounding to pages included. */
  readonly kv: KvBytes & {
    readonly codec: string;
    /** The share of the pictures, markers included. */
    readonly pictures: KvBytes;
  };
}

/**
 * What an answer cost. Tokens computed again after a preemption count once, and never as prompt.
 * @param kept how its prompt is kept at the end; empty for a request that never came to the scheduler
 */
export function usageOf(
  { promptTokens, completionTokens, cachedTokens, pictures }: Generation,
  kept: readonly KeptSpan[],
  geometry: EngineGeometry,
): Usage {
  const pictureSpans = kept.filter(({ picture }) => picture !== undefined);
  const pictureTokens = pictures.reduce((sum, { length }) => sum + length, 0);
  const bytesOf = (spans: readonly KeptSpan[], tokens: number): KvBytes => ({
    bytes: spans.reduce((sum, { pages }) => sum + pages, 0) * geometry.pageBytes,
    rawBytes: tokens * rawTokenBytes(geometry),
  });
  return {
    ...{ promptTokens, completionTokens, cachedTokens },
    kv: {
      codec: codecOf([...pictureSpans, ...kept], geometry),
      ...bytesOf(kept, promptTokens),
      pictures: bytesOf(pictureSpans, pictureTokens),
    },
  };
}

/** The codec of the first span that is not raw. */
function codecOf(spans: readonly KeptSpan[], { formats }: EngineGeometry): string {
  const stored = spans.find(({ format }) => format !== undefined);
  return formats[stored?.format ?? -1]?.codec ?? 'raw';
}
