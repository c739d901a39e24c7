import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, goldenCases, goldenMessages } from './harness.js';

describe("OpenAI's Node SDK, unmodified", () => {
  let cluster: Cluster, client: OpenAI;
  beforeAll(async () => {
    cluster = await Cluster.start({
      workerArgs: ['--pool-mib', '64', '--codec', 'raw', '--kv-dtype', 'f32'],
    });
    client = new OpenAI({ baseURL: `${cluster.url}/v1`, apiKey: 'none', maxRetries: 0 });
  }, 120_000);
  afterAll(() => cluster.stop());

  const request = (golden: ReturnType<typeof goldenCases>[number]) => ({
    model: 'emoji-vlm',
    temperature: 0,
    max_tokens: golden.answer_ids.length,
    messages: goldenMessages(golden) as unknown as OpenAI.ChatCompletionMessageParam[],
  });

  it.each(goldenCases())('answers "$name" as transformers does', async (golden) => {
    const answer = await client.chat.completions.create(request(golden));
    const ended = golden.answer_ids.at(-1) === 2;
    expect(answer.choices[0]?.message.content).toBe(golden.answer);
    expect(answer.choices[0]?.finish_reason).toBe(ended ? 'stop' : 'length');
    expect(answer.usage?.prompt_tokens).toBe(golden.input_ids.length);
    // questions begin alike, so all but the first find something
    expect(answer.usage?.prompt_tokens_details?.cached_tokens).toBeLessThan(golden.input_ids.length);
  });

  it('streams the same text, with usage at the end', async () => {
    for (const golden of goldenCases().slice(0, 4)) {
      const plain = await client.chat.completions.create(request(golden));
      const stream = await client.chat.completions.create({
        ...request(golden),
        stream: true,
        stream_options: { include_usage: true },
      });
      let text = '';
      let usage: OpenAI.CompletionUsage | null | undefined;
      let finish: string | null | undefined;
      for await (const chunk of stream) {
        text += chunk.choices[0]?.delta.content ?? '';
        finish = chunk.choices[0]?.finish_reason ?? finish;
        usage = chunk.usage ?? usage;
      }
      expect(text).toBe(golden.answer);
      expect(usage).toEqual(plain.usage);
      expect(finish).toBe('stop');
    }
  });

  it('answers all cases at once as it answers them alone', async () => {
    const answers = await Promise.all(
      goldenCases().map((golden) => client.chat.completions.create(request(golden))),
    );
    expect(answers.map((answer) => answer.choices[0]?.message.content)).toEqual(
      goldenCases().map((c) => c.answer),
    );
  });

  it('gives the same tokens for the same seed, and others for another', async () => {
    const golden = goldenCases().find((candidate) => candidate.name === 'text only');
    if (golden === undefined) throw new Error('no text case');
    const sample = async (seed: number): Promise<string | null | undefined> => {
      const answer = await client.chat.completions.create({ ...request(golden), temperature: 1, seed });
      return answer.choices[0]?.message.content;
    };
    const [first, again, other] = await Promise.all([sample(7), sample(7), sample(8)]);
    expect(again).toBe(first);
    expect(other).not.toBe(first);
  });

  it('raises the typed errors that the SDK knows', async () => {
    const golden = goldenCases()[0];
    if (golden === undefined) throw new Error('no case');
    await expect(
      client.chat.completions.create({ ...request(golden), model: 'nobody' }),
    ).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    await expect(
      client.chat.completions.create({ ...request(golden), temperature: -1 }),
    ).rejects.toMatchObject({
      status: 400,
      param: 'temperature',
    });
    expect((await client.models.list()).data.map((model) => model.id)).toEqual(['emoji-vlm']);
  });
});
