import { KvcError } from '@kvcapsule/contracts';
import { z } from 'zod';
import type { PromptMaker } from '../prompts/prompt-maker.js';
import { serverFetch } from '@kvcapsule/platform/http';
import type { Answer } from './answers.js';
import { argmax, logNormaliser } from '../statistics/statistics.js';

/** Another engine behind an OpenAI address. */
export interface RemoteEngine {
  /** Of the server, without `/v1`. */
  readonly url: string;
  readonly model: string;
  /** Extension field of our own server. */
  readonly kvCodec?: string;
  readonly apiKey?: string;
}

const TOP_LOGPROBS = 20;
const MAX_ANSWER_TOKENS = 96;
const TIMEOUT_MS = 120_000;
/** What a server leaves out of its list cannot be weighed as nothing. */
const LEAST_PROBABILITY = 1e-9;

const tokenSchema = z.object({ token: z.string(), logprob: z.number() });
const completionSchema = z.object({
  choices: z
    .array(
      z.object({
        message: z.object({ content: z.string().nullable() }),
        logprobs: z
          .object({ content: z.array(tokenSchema.extend({ top_logprobs: z.array(tokenSchema) })) })
          .nullable()
          .optional(),
      }),
    )
    .min(1),
  usage: z
    .object({
      kv_cache: z
        .object({ pictures: z.object({ bytes: z.int(), raw_bytes: z.int() }).optional() })
        .optional(),
    })
    .optional(),
});
const modelsSchema = z.object({ data: z.array(z.object({ id: z.string() })).min(1) });

export interface RemoteAnswer {
  readonly text: string;
  /** Each token of the answer with the likeliest ones in its place. */
  readonly tokens: readonly {
    readonly token: string;
    readonly top: readonly { readonly token: string; readonly logprob: number }[];
  }[];
  /** Bytes of the prompt's picture, where the server tells. */
  readonly pictureBytes?: { readonly held: number; readonly raw: number };
}

async function call(engine: RemoteEngine, path: string, body?: unknown): Promise<unknown> {
  const headers = {
    'content-type': 'application/json',
    ...(engine.apiKey !== undefined && { authorization: `Bearer ${engine.apiKey}` }),
  };
  const request = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
  let response: Response;
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    response = await serverFetch(engine.url + path, { ...request, headers, signal });
  } catch (cause) {
    throw new KvcError('CONFIG_INVALID', `${engine.url} does not answer`, { cause });
  }
  const json: unknown = await response.json().catch(() => undefined);
  if (response.ok) return json;
  const refusal = z.object({ error: z.object({ message: z.string() }) }).safeParse(json);
  const reason = refusal.success ? refusal.data.error.message : String(response.status);
  throw new KvcError('CONFIG_INVALID', `${engine.url} refused: ${reason}`);
}

function checked<S extends z.ZodType>(engine: RemoteEngine, schema: S, json: unknown): z.output<S> {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new KvcError(
    'CONFIG_INVALID',
    `${engine.url} does not answer as OpenAI does: ${z.prettifyError(parsed.error)}`,
  );
}

/** The id of the first model that the server offers. */
export async function firstModel(url: string, apiKey: string | undefined): Promise<string> {
  const engine = { url, model: '', ...(apiKey !== undefined && { apiKey }) };
  return checked(engine, modelsSchema, await call(engine, '/v1/models')).data[0]?.id ?? '';
}

/**
 * Asks one question about one picture, greedily.
 *
 * @throws KvcError CONFIG_INVALID when the server does not answer, refuses or gives no log-probabilities
 */
export async function askRemote(engine: RemoteEngine, png: Buffer, question: string): Promise<RemoteAnswer> {
  const url = `data:image/png;base64,${png.toString('base64')}`;
  const content = [
    { type: 'image_url', image_url: { url } },
    { type: 'text', text: question },
  ];
  const body = {
    model: engine.model,
    messages: [{ role: 'user', content }],
    temperature: 0,
    max_completion_tokens: MAX_ANSWER_TOKENS,
    logprobs: true,
    top_logprobs: TOP_LOGPROBS,
    ...(engine.kvCodec !== undefined && { kv_codec: engine.kvCodec }),
  };
  const completion = checked(engine, completionSchema, await call(engine, '/v1/chat/completions', body));
  const [choice] = completion.choices;
  const logprobs = choice?.logprobs?.content;
  if (choice === undefined || logprobs === undefined) {
    throw new KvcError('CONFIG_INVALID', `${engine.url} gives no log-probabilities`);
  }
  const pictures = completion.usage?.kv_cache?.pictures;
  return {
    text: choice.message.content ?? '',
    tokens: logprobs.map(({ token, top_logprobs }) => ({ token, top: top_logprobs })),
    ...(pictures && { pictureBytes: { held: pictures.bytes, raw: pictures.raw_bytes } }),
  };
}

/** Every token's text; tokens that are written alike are told apart by no server. */
export function tokenTexts(prompts: PromptMaker, vocab: number): readonly string[] {
  return Array.from({ length: vocab }, (_, token) => prompts.text([token]));
}

/**
 * KL(raw || remote) of one next-token distribution, of which the remote tells its likeliest tokens: all other
 * tokens count as one. Merging outcomes never makes a divergence larger, so this is a lower bound.
 */
function toldKlNats(
  raw: Float32Array,
  top: RemoteAnswer['tokens'][number]['top'],
  texts: readonly string[],
): number {
  const told = new Map(top.map(({ token, logprob }) => [token, Math.exp(logprob)]));
  const mine = new Map<string, number>();
  const normaliser = logNormaliser(raw);
  let restOfRaw = 0;
  for (let token = 0; token < raw.length; token++) {
    const share = Math.exp((raw[token] ?? -Infinity) - normaliser);
    const text = texts[token] ?? '';
    if (told.has(text)) mine.set(text, (mine.get(text) ?? 0) + share);
    else restOfRaw += share;
  }
  let restOfRemote = 1;
  let sum = 0;
  const add = (p: number, q: number) => {
    if (p > 0) sum += p * Math.log(p / Math.max(q, LEAST_PROBABILITY));
  };
  for (const [text, share] of told) {
    restOfRemote -= share;
    add(mine.get(text) ?? 0, share);
  }
  add(restOfRaw, restOfRemote);
  return Math.max(0, sum);
}

/**
 * A remote answer beside raw's, token by token up to the first that differs: only so far have both chosen
 * after the same words. The token that ends an answer is in no server's list and not compared.
 */
export function compareRemote(
  raw: Answer,
  remote: RemoteAnswer,
  texts: readonly string[],
): { klNats: number[]; agreed: number } {
  const klNats: number[] = [];
  let agreed = 0;
  for (const [at, { token, top }] of remote.tokens.entries()) {
    const logits = raw.logits[at];
    if (logits === undefined) break;
    klNats.push(toldKlNats(logits, top, texts));
    if (texts[argmax(logits)] !== token) break;
    agreed++;
  }
  return { klNats, agreed };
}
