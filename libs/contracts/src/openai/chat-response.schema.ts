import { z } from 'zod';

const kvBytes = { bytes: z.int(), raw_bytes: z.int() };

export const CompletionUsage = z.strictObject({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
  prompt_tokens_details: z.strictObject({ cached_tokens: z.int() }),
  /**
   * Extension: what the prompt holds in the KV pool, rounding included, and what the same tokens would hold as
   * raw 16-bit rows; in all, and for its pictures alone.
   */
  kv_cache: z
    .strictObject({
      codec: z.string(),
      ...kvBytes,
      pictures: z.strictObject(kvBytes),
      /** What took another form while the answer ran, since pages ran short; absent where nothing did. */
      recompressed: z.strictObject({ pictures: z.int(), text_runs: z.int() }).optional(),
    })
    .optional(),
});
export type CompletionUsage = z.infer<typeof CompletionUsage>;

const FinishReason = z.enum(['stop', 'length']);
export type ChatFinishReason = z.infer<typeof FinishReason>;

/**
 * Extension, with `length`: the answer ended because the worker's KV pool has no room for a token more; absent where
 * the request's own bound or the context ended it.
 */
const finishDetails = z.strictObject({ type: z.literal('kv_capacity') }).optional();

const topLogprob = {
  token: z.string(),
  /** Of the raw distribution, before bias, penalties and truncation; -9999 stands for "impossible". */
  logprob: z.number(),
  /** Null for a special token, which is no text. */
  bytes: z.array(z.int()).nullable(),
};

/** Log-probabilities of the tokens of an answer, or of one chunk of it. */
export const ChoiceLogprobs = z.strictObject({
  content: z.array(z.strictObject({ ...topLogprob, top_logprobs: z.array(z.strictObject(topLogprob)) })),
  refusal: z.null(),
});
export type ChoiceLogprobs = z.infer<typeof ChoiceLogprobs>;

/** Answers of one fingerprint to one request with one seed are equal; it may change within an answer. */
const systemFingerprint = z.string();

/** Answer of `POST /v1/chat/completions` without `stream`. */
export const ChatCompletion = z
  .strictObject({
    id: z.string(),
    object: z.literal('chat.completion'),
    created: z.int(),
    model: z.string(),
    system_fingerprint: systemFingerprint,
    choices: z.array(
      z.strictObject({
        index: z.int(),
        message: z.strictObject({ role: z.literal('assistant'), content: z.string(), refusal: z.null() }),
        logprobs: ChoiceLogprobs.nullable(),
        finish_reason: FinishReason,
        finish_details: finishDetails,
      }),
    ),
    usage: CompletionUsage,
  })
  .meta({ id: 'ChatCompletion' });
export type ChatCompletion = z.infer<typeof ChatCompletion>;

/** One `data:` event of a stream. `usage` is there only with `stream_options.include_usage`. */
export const ChatCompletionChunk = z
  .strictObject({
    id: z.string(),
    object: z.literal('chat.completion.chunk'),
    created: z.int(),
    model: z.string(),
    system_fingerprint: systemFingerprint,
    choices: z.array(
      z.strictObject({
        index: z.int(),
        delta: z.strictObject({ role: z.literal('assistant').optional(), content: z.string().optional() }),
        logprobs: ChoiceLogprobs.nullable(),
        finish_reason: FinishReason.nullable(),
        finish_details: finishDetails,
      }),
    ),
    usage: CompletionUsage.nullable().optional(),
  })
  .meta({ id: 'ChatCompletionChunk' });
export type ChatCompletionChunk = z.infer<typeof ChatCompletionChunk>;

export const Model = z
  .strictObject({
    id: z.string(),
    object: z.literal('model'),
    created: z.int(),
    owned_by: z.string(),
    /** Extension: prompt and answer together, in tokens. */
    max_model_len: z.int(),
    /** Extension: what `kv_codec` may be; empty while no worker is there. */
    kv_codecs: z.array(z.string()),
    /** Extension: types of weights and of raw keys and values, as `bf16/f16`, that workers compute with. */
    precisions: z.array(z.string()),
  })
  .meta({ id: 'Model' });
export type Model = z.infer<typeof Model>;

export const ModelList = z
  .strictObject({ object: z.literal('list'), data: z.array(Model) })
  .meta({ id: 'ModelList' });
export type ModelList = z.infer<typeof ModelList>;
