import { z } from 'zod';
import { ChatMessage } from './chat-messages.schema.js';
import { ignored, known, refused, text, withAllFields } from './refused.js';

const oneOf =
  (...values: readonly unknown[]) =>
  (value: unknown) =>
    values.includes(value);
const isEmptyList = (value: unknown) => Array.isArray(value) && value.length === 0;
const isTextFormat = (value: unknown) =>
  typeof value === 'object' && value !== null && 'type' in value && value.type === 'text';
const isTextOnly = (value: unknown) => Array.isArray(value) && value.length === 1 && value[0] === 'text';

/** What OpenAI offers and this server does not (yet): refused by name unless the value asks for nothing. */
const notOffered = {
  tools: refused('tools are not offered', isEmptyList),
  tool_choice: refused('tools are not offered', oneOf('none', 'auto')),
  functions: refused('functions are not offered', isEmptyList),
  function_call: refused('functions are not offered', oneOf('none', 'auto')),
  response_format: refused('only the response format "text" is offered', isTextFormat),
  audio: refused('audio is not offered'),
  modalities: refused('only the modality "text" is offered', isTextOnly),
  prediction: refused('predicted outputs are not offered'),
  web_search_options: refused('web search is not offered'),
  reasoning_effort: refused('reasoning is not offered', oneOf('none')),
  verbosity: refused('verbosity is not offered'),
};

/** Strings name what begins alike; anything else changes nothing. */
const session = { prompt_cache_key: ignored, user: ignored };

/** What SDKs and gateways send along and that changes nothing here. */
const harmless = {
  safety_identifier: ignored,
  metadata: ignored,
  store: ignored,
  service_tier: ignored,
  parallel_tool_calls: ignored,
  prompt_cache_retention: ignored,
  cache_control: ignored,
};

const tokens = z.int().min(1).nullish();
const penalty = z.number().min(-2).max(2).nullish();
/** OpenAI's limits. */
const MAX_STOPS = 4;
/** What might be the start of a stop string is held back and looked at again with each token. */
const MAX_STOP_CHARACTERS = 4_096;
const stop = text.min(1).max(MAX_STOP_CHARACTERS);
const MAX_BIASED_TOKENS = 1_024;
const tokenId = z.string().regex(/^(0|[1-9]\d{0,8})$/, 'keys must be token ids');

/** What decides which tokens are drawn, and what is told about them. */
const sampling = {
  /** 0 is greedy. */
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  /** Extension: keep the k likeliest tokens; 0 and -1 mean all. */
  top_k: z.int().min(-1).max(1_000_000).nullish(),
  /** Extension: keep tokens at least so likely as this share of the likeliest one; 0 means all. */
  min_p: z.number().min(0).max(1).nullish(),
  /** Of tokens that the answer holds: once, and once for each time. */
  presence_penalty: penalty,
  frequency_penalty: penalty,
  /** Extension: of tokens that prompt or answer hold; 1 is off. */
  repetition_penalty: z.number().min(0.01).max(100).nullish(),
  /** Token id to what is added to its logit. */
  logit_bias: z
    .record(tokenId, z.number().min(-100).max(100))
    .refine((bias) => Object.keys(bias).length <= MAX_BIASED_TOKENS, {
      error: `at most ${MAX_BIASED_TOKENS} tokens`,
    })
    .nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  seed: z.int().nullish(),
  /** Extension: neither an end token nor a stop string ends the answer before. */
  min_tokens: z.int().min(0).nullish(),
  /** Extension: end tokens do not end the answer. */
  ignore_eos: z.boolean().nullish(),
};

const fields = known({
  /** Without one the server's default model answers, where it has one. */
  model: z.string().min(1).nullish(),
  messages: z.array(ChatMessage).min(1),
  stream: z.boolean().nullish(),
  stream_options: known({
    include_usage: z.boolean().nullish(),
    /** Extension, with `include_usage`: the usage so far in each chunk. */
    continuous_usage_stats: z.boolean().nullish(),
    /** Extension: comments that say how much of the prompt is computed. */
    include_prefill_progress: z.boolean().nullish(),
    include_obfuscation: ignored,
  }).nullish(),
  max_tokens: tokens,
  /** Wins over `max_tokens`. */
  max_completion_tokens: tokens,
  ...sampling,
  /** Extension: only requests with the same salt share cached prefixes. */
  cache_salt: text.min(1).max(256).nullish(),
  /** Extension: requests with lower ones go first on their worker. */
  priority: z
    .int()
    .min(-(2 ** 31))
    .max(2 ** 31 - 1)
    .nullish(),
  /** Extension: how the KV of the prompt's pictures is kept. */
  kv_codec: z.string().min(1).max(64).nullish(),
  stop: z
    .union([stop, z.array(stop).max(MAX_STOPS)], {
      error: `stop is a string of at least one character, or a list of up to ${MAX_STOPS}`,
    })
    .nullish(),
  n: z
    .int()
    .min(1)
    .refine((n) => n <= 1, {
      error: 'only one choice is offered',
      params: { code: 'UNSUPPORTED_PARAMETER' },
    })
    .nullish(),
  ...notOffered,
  ...session,
  ...harmless,
}).superRefine((request, context) => {
  const refuse = (field: string, message: string) => {
    context.addIssue({ code: 'custom', path: [field], message });
  };
  if (request.stream_options != null && request.stream !== true)
    refuse('stream_options', 'stream_options are taken only with stream: true');
  if (request.top_logprobs && request.logprobs !== true)
    refuse('top_logprobs', 'top_logprobs are taken only with logprobs: true');
  const most = request.max_completion_tokens ?? request.max_tokens;
  if (most != null && (request.min_tokens ?? 0) > most)
    refuse('min_tokens', 'min_tokens is more than the answer may have');
});

/** Body of `POST /v1/chat/completions`. Any other field is `INVALID_REQUEST` with its name. */
export const ChatCompletionRequest = z
  .preprocess(withAllFields, fields)
  .meta({ id: 'ChatCompletionRequest' });
export type ChatCompletionRequest = z.infer<typeof ChatCompletionRequest>;
