import { webcrypto } from 'node:crypto';
import type { ChatCompletionRequest, ChatMessage } from '@kvcapsule/contracts/openai';
import { drawnWith, SAMPLING_DEFAULTS } from '@kvcapsule/domain/request';
import type { Span } from '@kvcapsule/platform/tracing';
import type { ServedModel } from '../catalogue/model-catalogue.js';
import type { Caller } from './auth.js';
import type { InlineData } from './http/inline-data.js';
import type { GenerationRequest } from '../generation/generation.js';
import type { ChatTurn } from '../prepare/prompt-preparer.port.js';

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

/** What a body does not say itself. */
interface RequestContext {
  readonly id: string;
  readonly model: ServedModel;
  readonly caller: Caller;
  /** Absent: it is not recorded. */
  readonly span?: Span | undefined;
  /** Data of pictures that was left out of the body. */
  readonly data: InlineData | undefined;
}

/** What a validated body asks of a model. */
export function generationRequest(
  body: ChatCompletionRequest,
  { id, model, caller, data, span }: RequestContext,
): GenerationRequest {
  const plain = SAMPLING_DEFAULTS;
  const { temperature, topP } = drawnWith(body.temperature ?? plain.temperature, body.top_p ?? plain.topP);
  return {
    id,
    model,
    span,
    principal: caller.principal,
    turns: body.messages.map((message, index) => turn(message, index, data)),
    maxTokens: body.max_completion_tokens ?? body.max_tokens ?? undefined,
    stop: typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []),
    temperature,
    topP,
    topK: Math.max(0, body.top_k ?? plain.topK),
    minP: body.min_p ?? plain.minP,
    presencePenalty: body.presence_penalty ?? plain.presencePenalty,
    frequencyPenalty: body.frequency_penalty ?? plain.frequencyPenalty,
    repetitionPenalty: body.repetition_penalty ?? plain.repetitionPenalty,
    logitBias: Object.entries(body.logit_bias ?? {}).map(([id, bias]) => ({ tokenId: Number(id), bias })),
    topLogprobs: body.logprobs ? (body.top_logprobs ?? 0) : undefined,
    minTokens: body.min_tokens ?? plain.minTokens,
    ignoreEos: body.ignore_eos ?? false,
    cacheSalt: body.cache_salt ?? '',
    priority: Math.min(caller.priority.max, Math.max(caller.priority.min, body.priority ?? 0)),
    sessionKey: named(body.prompt_cache_key) ?? named(body.user),
    kvCodec: body.kv_codec ?? undefined,
    seed: body.seed == null ? seeds.draw() : BigInt.asUintN(64, BigInt(body.seed)),
  };
}

/** Longer keys are told apart by so many characters. */
const MAX_KEY = 512;

/** Fields that only help may be anything: what is no key is none. */
function named(key: unknown): string | undefined {
  return typeof key === 'string' && key !== '' ? key.slice(0, MAX_KEY) : undefined;
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
