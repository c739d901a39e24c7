import { webcrypto } from 'node:crypto';
import type { ChatCompletionRequest, ChatMessage } from '@kvcapsule/contracts/openai';
import type { InlineData } from './http/inline-data.js';
import type { ChatTurn, GenerationRequest } from '../generation/generation.js';

/** Below this, sampling in 32-bit floats is greedy or overflows: greedy it is. */
const GREEDY_BELOW = 1e-3;
/** A nucleus this small holds the likeliest token alone. */
const GREEDY_TOP_P_BELOW = 1e-6;

/** Random seeds, drawn by the hundred: the system's generator takes 10 to 100 microseconds a call. */
class Seeds {
  readonly #drawn = new BigUint64Array(512);
  #next = this.#drawn.length;

  draw(): bigint {
    if (this.#next === this.#drawn.length) {
      webcrypto.getRandomValues(this.#drawn);
      this.#next = 0;
    }
    return this.#drawn[this.#next++] ?? 0n;
  }
}

const seeds = new Seeds();

/** What a validated body asks for; its pictures' data may have been left out of it. */
export function generationRequest(body: ChatCompletionRequest, data?: InlineData): GenerationRequest {
  const temperature = body.temperature ?? 1;
  const topP = body.top_p ?? 1;
  const isGreedy = temperature < GREEDY_BELOW || topP < GREEDY_TOP_P_BELOW;
  return {
    turns: body.messages.map((message, index) => turn(message, index, data)),
    maxTokens: body.max_completion_tokens ?? body.max_tokens ?? undefined,
    stop: typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []),
    temperature: isGreedy ? 0 : temperature,
    topP: isGreedy ? 1 : topP,
    topK: Math.max(0, body.top_k ?? 0),
    minP: body.min_p ?? 0,
    presencePenalty: body.presence_penalty ?? 0,
    frequencyPenalty: body.frequency_penalty ?? 0,
    repetitionPenalty: body.repetition_penalty ?? 1,
    logitBias: Object.entries(body.logit_bias ?? {}).map(([id, bias]) => ({ tokenId: Number(id), bias })),
    topLogprobs: body.logprobs ? (body.top_logprobs ?? 0) : undefined,
    minTokens: body.min_tokens ?? 0,
    ignoreEos: body.ignore_eos ?? false,
    cacheSalt: body.cache_salt ?? '',
    priority: body.priority ?? 0,
    kvCodec: body.kv_codec ?? undefined,
    seed: body.seed == null ? seeds.draw() : BigInt.asUintN(64, BigInt(body.seed)),
  };
}

function turn(message: ChatMessage, index: number, data: InlineData | undefined): ChatTurn {
  const role = message.role === 'developer' ? 'system' : message.role;
  const { content } = message;
  if (content == null) return { role, content: [] };
  if (typeof content === 'string') return { role, content: [content] };
  const param = (at: number) => `messages.${index}.content.${at}`;
  return {
    role,
    content: content.map((part, at) =>
      part.type === 'text'
        ? part.text
        : { url: data?.behind(part.image_url.url) ?? part.image_url.url, param: param(at) },
    ),
  };
}
