import { LONG_CROPS, sceneOfSeries } from '@kvcapsule/testing';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Cluster, picture, until } from './harness.js';

interface KvCache {
  readonly codec: string;
  readonly bytes: number;
  readonly raw_bytes: number;
  readonly pictures: { readonly bytes: number; readonly raw_bytes: number };
}

/** Of one token of the demo model as raw 16-bit rows: keys and values, 6 layers, 2 heads, 64 channels. */
const RAW_TOKEN_BYTES = 2 * 6 * 2 * 64 * 2;
const PAGE_BYTES = (16 * RAW_TOKEN_BYTES) / 8;

describe('kv_codec', () => {
  let cluster: Cluster, client: OpenAI;
  beforeAll(async () => {
    cluster = await Cluster.start();
    client = new OpenAI({ baseURL: `${cluster.url}/v1`, apiKey: 'none', maxRetries: 0 });
  }, 120_000);
  afterAll(() => cluster.stop());

  const messages = [ask('What is at B2?', picture('a'))] as unknown as OpenAI.ChatCompletionMessageParam[];
  const answer = (kvCodec?: string) => {
    const body = { model: 'emoji-vlm', messages, temperature: 0, max_tokens: 20 };
    return client.chat.completions.create({ ...body, kv_codec: kvCodec } as typeof body);
  };
  const kvOf = ({ usage }: OpenAI.ChatCompletion): KvCache =>
    (usage as unknown as { kv_cache: KvCache }).kv_cache;

  it('decides how the pictures of a request are kept, and usage tells it to the byte', async () => {
    const raw = await answer('raw');
    const tokens = raw.usage?.prompt_tokens ?? 0;
    expect(kvOf(raw)).toMatchObject({ codec: 'raw', raw_bytes: tokens * RAW_TOKEN_BYTES });
    // whole blocks of 16 tokens
    expect(kvOf(raw).pictures.bytes).toBe(
      Math.ceil(kvOf(raw).pictures.raw_bytes / 8 / PAGE_BYTES) * 8 * PAGE_BYTES,
    );
    let before = kvOf(raw).pictures.bytes;
    for (const codec of ['q8', 'q4']) {
      const kept = await answer(codec);
      expect(kept.choices[0]?.message.content).toBe(raw.choices[0]?.message.content);
      expect(kvOf(kept)).toMatchObject({ codec, raw_bytes: kvOf(raw).raw_bytes });
      expect(kvOf(kept).pictures.raw_bytes).toBe(kvOf(raw).pictures.raw_bytes);
      expect(kvOf(kept).pictures.bytes).toBeLessThan(before);
      before = kvOf(kept).pictures.bytes;
    }
    const byDefault = await answer();
    expect(kvOf(byDefault).codec).toMatch(/^capsule/);
    expect(kvOf(await answer(kvOf(byDefault).codec))).toEqual(kvOf(byDefault));
  });

  it.each(LONG_CROPS)('keeps pictures of $rows x $cols tiles at least ten times smaller', async (crop) => {
    const { png, questions } = await sceneOfSeries(77, 0, { crop, questions: 2 });
    const url = `data:image/png;base64,${png.toString('base64')}`;
    const about = async (question: string, kvCodec?: string) => {
      const asked = [ask(question, url)] as unknown as OpenAI.ChatCompletionMessageParam[];
      const body = { model: 'emoji-vlm', messages: asked, temperature: 0, max_tokens: 20 };
      return client.chat.completions.create({ ...body, kv_codec: kvCodec } as typeof body);
    };
    for (const { ask: question } of questions) {
      const [first, second] = [await about(question), await about(question)];
      const { codec, pictures } = kvOf(first);
      expect(codec).toBe('capsule-mixed');
      expect(pictures.raw_bytes / pictures.bytes).toBeGreaterThanOrEqual(10);
      expect(kvOf(second)).toEqual(kvOf(first));
      // the second time the picture is a hit of the prefix cache
      expect(second.choices[0]?.message.content).toBe(first.choices[0]?.message.content);
      expect(kvOf(await about(question, 'raw')).pictures.raw_bytes).toBe(pictures.raw_bytes);
    }
  });

  it('loses under a tenth of the pages of pictures to rounding, as the metrics tell', async () => {
    const { codec, pictures } = kvOf(await answer());
    const stop = new AbortController();
    const endless = { model: 'emoji-vlm', stream: true, ignore_eos: true, max_tokens: 4_000 };
    const bytes = async (of = codec) => ({
      held: await cluster.workerMetric(0, `kvcapsule_worker_kv_bytes{codec="${of}"}`),
      padding: await cluster.workerMetric(0, `kvcapsule_worker_kv_padding_bytes{codec="${of}"}`),
    });
    expect(await bytes()).toEqual({ held: 0, padding: 0 });
    await cluster.chat({ ...endless, messages }, { signal: stop.signal });
    await until(async () => (await bytes()).held > 0, 60_000);
    const { held, padding } = await bytes();
    expect(held).toBe(pictures.bytes);
    expect(padding).toBeGreaterThanOrEqual(0);
    expect(padding / held).toBeLessThan(0.1);
    // the question before and after a picture fills no block
    const text = await bytes('raw');
    expect(text.padding).toBeGreaterThan(0);
    expect(text.padding).toBeLessThan(text.held);
    stop.abort();
    await until(async () => (await bytes()).held === 0, 60_000);
  });

  it('is refused by a list of the known ones when it is none of them', async () => {
    await expect(answer('zip')).rejects.toMatchObject({
      ...{ status: 400, code: 'kv_codec_unavailable', param: 'kv_codec' },
      message: expect.stringMatching(/capsule.*q4, q8, raw/) as string,
    });
  });
});
