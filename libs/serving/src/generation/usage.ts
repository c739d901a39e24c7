import { promptPages, promptSegments, rawBlocks, storedPrompt } from '@kvcapsule/domain/paging';
import type { TextForm } from '@kvcapsule/domain/scheduling';

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

/** What an answer cost. Tokens computed again after a preemption count once, and never as prompt. */
export function usageOf(generation: Generation, info: EngineGeometry): Usage {
  return {
    promptTokens: generation.promptTokens,
    completionTokens: generation.completionTokens,
    cachedTokens: generation.cachedTokens,
    kv: kvUsageOf(generation, info),
  };
}

/** Bytes of the pages that the prompt holds at the end, rounding included, and of its tokens as raw rows. */
function kvUsageOf(generation: Generation, info: EngineGeometry): Usage['kv'] {
  const { promptTokens, recompressed, spec } = generation;
  const { pictures } = spec;
  const kept = pictures.map((picture, index) => {
    const pressed = recompressed.has(index) ? picture.underPressure : undefined;
    return { ...picture, ...pressed };
  });
  const stored = kept.map(({ offset, length, restRows, capsule }) => ({
    ...{ offset, length },
    stored: capsule && { pages: capsule.pages, restTokens: restRows.length },
  }));
  const { restingPages } = promptPages(storedPrompt(promptTokens, stored), info);
  const textBlocks = promptSegments(promptTokens, pictures)
    .filter(({ picture }) => picture === undefined)
    .reduce((sum, { length }) => sum + rawBlocks(length, info), 0);
  const textPages = textBlocks * info.pagesPerBlock - savedByText(generation, info);
  const picturePages = restingPages - textBlocks * info.pagesPerBlock;
  const textCodec = textPages < textBlocks * info.pagesPerBlock ? textFormOf(generation) : undefined;
  const pictureTokens = pictures.reduce((sum, { length }) => sum + length, 0);
  return {
    codec: kept.find(({ capsule }) => capsule)?.form.codec ?? textCodec?.form.codec ?? 'raw',
    bytes: (picturePages + textPages) * info.pageBytes,
    rawBytes: promptTokens * rawTokenBytes(info),
    pictures: {
      bytes: picturePages * info.pageBytes,
      rawBytes: pictureTokens * rawTokenBytes(info),
    },
  };
}

const textFormOf = ({ textForm, spec }: Generation): TextForm | undefined =>
  textForm ?? spec.textUnderPressure;

/** Pages that the prompt's text takes less than raw. */
function savedByText(generation: Generation, info: EngineGeometry): number {
  const { promptTokens, pressedRuns, textForm, spec } = generation;
  const form = textFormOf(generation);
  if (!form) return 0;
  const segments = promptSegments(promptTokens, spec.pictures).filter(({ picture }) => picture === undefined);
  const runs = textForm
    ? segments.reduce((sum, { length }) => sum + Math.floor(length / form.tokens), 0)
    : [...pressedRuns].filter((start) => start + form.tokens <= promptTokens).length;
  return runs * (rawBlocks(form.tokens, info) * info.pagesPerBlock - form.capsule.pages);
}
