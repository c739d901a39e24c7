import type { Usage } from '@kvcapsule/contracts/worker';
import { promptPages } from '@kvcapsule/domain/paging';
import type { NativeEngineInfo } from '@kvcapsule/engine';

import type { Generation } from '../generation/generation.js';

/** What an answer cost. Tokens computed again after a preemption count once, and never as prompt. */
export function usageOf(generation: Generation, info: NativeEngineInfo): Usage {
  const { pictures } = generation.spec;
  const compressed = pictures.filter(({ capsule }) => capsule !== undefined);
  const { restingPages } = promptPages(
    {
      tokens: generation.promptTokens,
      pictures,
      capsulePages: Object.fromEntries(
        compressed.map(({ imageTokens, capsule }) => [imageTokens, capsule?.pages ?? 0]),
      ),
    },
    info,
  );
  return {
    promptTokens: generation.promptTokens,
    completionTokens: generation.completionTokens,
    cachedTokens: 0,
    kv: {
      codec: compressed.length > 0 ? 'capsule' : 'raw',
      bytes: BigInt(restingPages * info.pageBytes),
      rawBytes: BigInt(generation.promptTokens * rawTokenBytes(info)),
    },
  };
}

/** Keys and values of one token of all layers, as raw rows. */
export function rawTokenBytes(info: NativeEngineInfo): number {
  return info.blockBytes / info.blockTokens;
}
