import { z } from 'zod';
import { ChatMessage } from './chat-messages.schema.js';
import { refused } from './refused.js';

const oneOf =
  (...values: readonly unknown[]) =>
  (value: unknown) =>
    values.includes(value);
const isEmptyList = (value: unknown) => Array.isArray(value) && value.length === 0;
const isEmptyObject = (value: unknown) =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0;
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
  logprobs: refused('logprobs are not offered', oneOf(false)),
  top_logprobs: refused('logprobs are not offered', oneOf(0)),
  logit_bias: refused('logit_bias is not offered', isEmptyObject),
  presence_penalty: refused('penalties are not offered', oneOf(0)),
  frequency_penalty: refused('penalties are not offered', oneOf(0)),
  audio: refused('audio is not offered'),
  modalities: refused('only the modality "text" is offered', isTextOnly),
  prediction: refused('predicted outputs are not offered'),
  web_search_options: refused('web search is not offered'),
  reasoning_effort: refused('reasoning is not offered', oneOf('none')),
  verbosity: refused('verbosity is not offered'),
};

/** What SDKs and gateways send along and that changes nothing here. */
const harmless = {
  user: z.string().nullish(),
  safety_identifier: z.string().nullish(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
  store: z.boolean().nullish(),
  service_tier: z.string().nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  prompt_cache_key: z.string().nullish(),
  prompt_cache_retention: z.string().nullish(),
};

const tokens = z.int().min(1).nullish();

/** Body of `POST /v1/chat/completions`. Any other field is `INVALID_REQUEST` with its name. */
export const ChatCompletionRequest = z
  .strictObject({
    model: z.string().min(1),
    messages: z.array(ChatMessage).min(1),
    stream: z.boolean().nullish(),
    stream_options: z
      .strictObject({ include_usage: z.boolean().nullish(), include_obfuscation: z.boolean().nullish() })
      .nullish(),
    max_tokens: tokens,
    /** Wins over `max_tokens`. */
    max_completion_tokens: tokens,
    /** 0 is greedy. */
    temperature: z.number().min(0).max(2).nullish(),
    top_p: z.number().min(0).max(1).nullish(),
    /** Extension: keep the k likeliest tokens; 0 and -1 mean all. */
    top_k: z.int().min(-1).max(1_000_000).nullish(),
    seed: z.int().nullish(),
    stop: z.union([z.string().min(1), z.array(z.string().min(1)).max(4)]).nullish(),
    n: z
      .int()
      .min(1)
      .refine((n) => n <= 1, {
        error: 'only one choice is offered',
        params: { code: 'UNSUPPORTED_PARAMETER' },
      })
      .nullish(),
    ...notOffered,
    ...harmless,
  })
  .superRefine((request, context) => {
    if (request.stream_options != null && request.stream !== true)
      context.addIssue({
        code: 'custom',
        path: ['stream_options'],
        message: 'stream_options are taken only with stream: true',
      });
  })
  .meta({ id: 'ChatCompletionRequest' });
export type ChatCompletionRequest = z.infer<typeof ChatCompletionRequest>;
