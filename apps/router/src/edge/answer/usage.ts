import type { CompletionUsage } from '@kvcapsule/contracts/openai';
import { FinishReason, type Finished, type KvBytes, type Usage } from '@kvcapsule/contracts/worker';
import type { Pressed } from '../../generation/transcript.js';

/** A worker's reason in OpenAI's words. */
export function finishReason(reason: FinishReason): 'stop' | 'length' {
  return reason === FinishReason.FINISH_REASON_LENGTH ? 'length' : 'stop';
}

/** Why an answer ended that its request's bound and the context would have let go on. */
export function finishDetails({ poolExhausted }: Finished): { finish_details?: { type: 'kv_capacity' } } {
  return poolExhausted ? { finish_details: { type: 'kv_capacity' } } : {};
}

/** A worker's accounts in OpenAI's words, and the bytes of KV as an extension. */
export function usageOf(usage: Usage | undefined, pressed: Pressed = UNPRESSED): CompletionUsage {
  const { promptTokens = 0, completionTokens = 0, cachedTokens = 0, kv } = usage ?? {};
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    ...(kv && {
      kv_cache: {
        codec: kv.codec,
        ...bytesOf(kv),
        pictures: bytesOf(kv.pictures),
        ...recompressedOf(pressed),
      },
    }),
  };
}

const UNPRESSED: Pressed = { pictures: 0, textRuns: 0 };

/** Nothing is said of an answer that pressure changed nothing of. */
function recompressedOf({ pictures, textRuns }: Pressed) {
  return pictures + textRuns === 0 ? {} : { recompressed: { pictures, text_runs: textRuns } };
}

function bytesOf(kv: KvBytes | undefined): { readonly bytes: number; readonly raw_bytes: number } {
  return { bytes: Number(kv?.bytes ?? 0n), raw_bytes: Number(kv?.rawBytes ?? 0n) };
}
