import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Cluster, MODEL_DIR, picture } from './harness.js';

type Body = OpenAI.ChatCompletionCreateParamsNonStreaming;

/** One answer, however it came. */
interface Told {
  readonly content: string;
  readonly tokens: readonly OpenAI.ChatCompletionTokenLogprob[];
  readonly finish: string | null;
  readonly completionTokens: number;
}

const messages = [ask('Describe the image.', picture('a'))] as unknown as Body['messages'];
const joined = ({ tokens }: Told): string => tokens.map(({ token }) => token).join('');
const bytesOf = ({ tokens }: Told): number[] => tokens.flatMap(({ bytes }) => bytes ?? []);

/** The token that stands for one byte: in the byte-level alphabet the first letters past U+0121 are 0x80 to 0xa0. */
function byteToken(vocab: Readonly<Record<string, number>>, byte: number): number {
  const id = vocab[String.fromCodePoint(byte <= 0xa0 ? byte + 0xa2 : byte)];
  if (id === undefined) throw new Error(`no token for byte ${String(byte)}`);
  return id;
}

/**
 * Sampling that answers with these different bytes one after the other: each is biased less than the one before,
 * and its repetition penalty takes a byte out of the running once it is written.
 */
function forcedBytes(text: string): Partial<Body> {
  const file = readFileSync(join(MODEL_DIR, 'tokenizer.json'), 'utf8');
  const { vocab } = (JSON.parse(file) as { model: { vocab: Record<string, number> } }).model;
  const bytes = [...Buffer.from(text)];
  expect(new Set(bytes).size).toBe(bytes.length);
  const bias = bytes.map((byte, index) => [byteToken(vocab, byte), 100 - 14 * index]);
  const extensions = { repetition_penalty: 100 };
  return {
    logit_bias: Object.fromEntries(bias) as Record<string, number>,
    max_tokens: bytes.length,
    ...extensions,
  };
}

describe("log-probabilities over OpenAI's Node SDK", () => {
  let cluster: Cluster, client: OpenAI;
  beforeAll(async () => {
    cluster = await Cluster.start();
    client = new OpenAI({ baseURL: `${cluster.url}/v1`, apiKey: 'none', maxRetries: 0 });
  }, 120_000);
  afterAll(() => cluster.stop());

  const request = (more: object): Body => ({
    ...{ model: 'emoji-vlm', messages, temperature: 0, max_tokens: 30, logprobs: true },
    ...more,
  });

  const plain = async (more: object): Promise<Told> => {
    const { choices, usage } = await client.chat.completions.create(request(more));
    const choice = choices[0];
    if (!choice || !usage) throw new Error('no choice or usage');
    return {
      content: choice.message.content ?? '',
      tokens: choice.logprobs?.content ?? [],
      finish: choice.finish_reason,
      completionTokens: usage.completion_tokens,
    };
  };

  const streamed = async (more: object): Promise<Told> => {
    const options = { stream: true, stream_options: { include_usage: true } } as const;
    const stream = await client.chat.completions.create({ ...request(more), ...options });
    const told = { content: '', tokens: [] as Told['tokens'][number][], finish: null as string | null };
    let completionTokens = 0;
    for await (const { choices, usage } of stream) {
      const content = choices[0]?.delta.content ?? '';
      const tokens = choices[0]?.logprobs?.content ?? [];
      // a chunk's tokens are those of its text
      expect(tokens.map(({ token }) => token).join('')).toBe(content);
      told.content += content;
      told.tokens.push(...tokens);
      told.finish = choices[0]?.finish_reason ?? told.finish;
      completionTokens = usage?.completion_tokens ?? completionTokens;
    }
    return { ...told, completionTokens };
  };

  /** Both ways, which must agree. */
  const tell = async (more: object): Promise<Told> => {
    const [whole, stream] = await Promise.all([plain(more), streamed(more)]);
    expect(stream).toEqual(whole);
    expect(joined(whole)).toBe(whole.content);
    return whole;
  };

  it('tells every token of the answer with the likeliest ones, streamed and not', async () => {
    const told = await tell({ top_logprobs: 20 });
    expect(told.content).toMatch(/^\w+ at [A-D][1-4]/);
    expect(bytesOf(told)).toEqual([...Buffer.from(told.content)]);
    for (const { token, bytes, logprob, top_logprobs: top } of told.tokens) {
      expect(top).toHaveLength(20);
      expect(top[0]).toEqual({ token, bytes, logprob });
      const values = top.map((entry) => entry.logprob);
      expect(values).toEqual([...values].sort((a, b) => b - a));
      const mass = values.reduce((sum, value) => sum + Math.exp(value), 0);
      expect(mass > 0.5 && mass < 1.00001).toBe(true);
    }
    // the end token is counted and not told
    expect([told.finish, told.completionTokens]).toEqual(['stop', told.tokens.length + 1]);
    expect((await plain({ logprobs: false })).tokens).toEqual([]);
  });

  it('F23: tells finite numbers only, of the distribution before bias and truncation', async () => {
    const free = await tell({ top_logprobs: 20 });
    const first = free.tokens[0];
    if (!first) throw new Error('an answer without tokens');
    const cases = [
      { top_k: 1, temperature: 1 },
      { logit_bias: { 300: -100, 301: -100 } },
      { temperature: 2, top_p: 0.01, min_p: 0.5 },
    ];
    for (const more of cases) {
      const { tokens } = await tell({ top_logprobs: 20, seed: 1, ...more });
      const numbers = tokens.flatMap(({ logprob, top_logprobs }) => [
        logprob,
        ...top_logprobs.map((top) => top.logprob),
      ]);
      expect(numbers.every((value) => Number.isFinite(value) && value >= -9999 && value <= 0)).toBe(true);
      expect(tokens[0]?.top_logprobs).toEqual(first.top_logprobs);
    }
  });

  it.each(['é日', '😀'])('F21: tells the true bytes of %s, which no token holds whole', async (text) => {
    const forced = forcedBytes(text);
    const told = await tell(forced);
    expect([told.content, told.finish]).toEqual([text, 'length']);
    expect(bytesOf(told)).toEqual([...Buffer.from(text)]);
    expect(told.tokens.every(({ bytes }) => bytes?.length === 1)).toBe(true);
    const bytes = [...Buffer.from(text)];
    const cut = await tell({ ...forced, max_tokens: bytes.length - 1 });
    expect(cut.content).toBe(`${Buffer.from(bytes.slice(0, text === '😀' ? 0 : 2)).toString()}\uFFFD`);
    expect(bytesOf(cut)).toEqual(bytes.slice(0, -1));
  });

  it('F22: keeps text and tokens together around stop strings, and tells nothing of one', async () => {
    const free = await tell({});
    const texts = free.tokens.map(({ token }) => token);
    const inside = (from: number, to: number): string => texts.slice(from, to).join('');
    const cases: readonly (readonly string[])[] = [
      // over three tokens, from within the first to within the last
      [inside(2, 5).slice(1, -1)],
      // its start comes often and never goes on
      [` at ${'\u2603'}`, `${texts[0]?.slice(0, 2) ?? ''}\u2603`],
      // one the start of the other
      [inside(4, 6), inside(4, 5)],
      // in the first token
      [texts[0]?.slice(1) ?? ''],
    ];
    for (const stop of cases) {
      const told = await tell({ stop, top_logprobs: 2 });
      const found = stop.map((piece) => free.content.indexOf(piece)).filter((at) => at >= 0);
      const end = found.length > 0 ? Math.min(...found) : free.content.length;
      expect([stop, told.content]).toEqual([stop, free.content.slice(0, end)]);
      expect(bytesOf(told)).toEqual([...Buffer.from(told.content)]);
      expect(told.finish).toBe('stop');
    }
  });

  it('tells the same numbers alone, in a batch and from the prefix cache', async () => {
    const seeds = Array.from({ length: 16 }, (_, seed) => seed);
    const sampled = (seed: number) =>
      plain({ top_logprobs: 5, temperature: 1, seed, messages: question(seed) });
    const question = (seed: number) => [
      ask(`What is at ${'ABCD'[seed % 4] ?? ''}2?`, picture('abcde'[seed % 5] ?? 'a')),
    ];
    const alone: Told[] = [];
    for (const seed of seeds) alone.push(await sampled(seed));
    expect(await Promise.all(seeds.map(sampled))).toEqual(alone);
    expect(await Promise.all(seeds.toReversed().map(sampled))).toEqual(alone.toReversed());
    const { usage } = await client.chat.completions.create(request({ messages: question(0) }));
    expect(usage?.prompt_tokens_details?.cached_tokens).toBeGreaterThan(100);
  });
});
