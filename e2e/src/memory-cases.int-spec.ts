import { encodePng } from '@kvcapsule/testing/pictures';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Cluster, events, killPart, picture, pngUri, until } from './harness.js';

interface Answer {
  readonly choices: readonly [
    {
      readonly message: { readonly content: string };
      readonly finish_reason: string;
      readonly logprobs: { readonly content: readonly unknown[] } | null;
    },
  ];
  readonly usage: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly prompt_tokens_details: { readonly cached_tokens: number };
    readonly kv_cache: { readonly codec: string };
  };
}

/** Pictures of F03: under `--full` as many as the case has. */
const PICTURES = process.env['KVCAPSULE_TEST_FULL'] === '1' ? 2000 : 12;

let cluster: Cluster;
/** Keeps nothing of what it has seen: its answers are those of a fresh worker. */
let cold: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start({ workerArgs: ['--pool-mib', '24', '--encoder-cache-mib', '1'] });
  cold = await Cluster.start({ workerArgs: ['--pool-mib', '24', '--encoder-cache-mib', '0'] });
});
afterAll(async () => {
  await cluster.stop();
  await cold.stop();
});

async function answer(messages: readonly object[], more: object = {}, to = cluster): Promise<Answer> {
  const response = await to.chat({ model: 'emoji-vlm', temperature: 0, max_tokens: 24, messages, ...more });
  expect([response.status, response.status === 200 ? '' : await response.text()]).toEqual([200, '']);
  return (await response.json()) as Answer;
}
/** A streamed answer, its chunks joined. */
async function streamed(messages: readonly object[], more: object, to: Cluster): Promise<object> {
  const body = { model: 'emoji-vlm', stream: true, messages, ...more };
  const [done, ...chunks] = events(await (await to.chat(body)).text()).reverse();
  expect(done).toBe('[DONE]');
  const choices = chunks.reverse().flatMap((text) => {
    const { choices } = JSON.parse(text) as {
      choices: { delta: { content?: string }; logprobs: { content: unknown[] } | null }[];
    };
    return choices;
  });
  return {
    text: choices.map(({ delta }) => delta.content ?? '').join(''),
    logprobs: choices.flatMap(({ logprobs }) => logprobs?.content ?? []),
  };
}

const textOf = ({ choices: [choice] }: Answer): string => choice.message.content;
const cachedOf = ({ usage }: Answer): number => usage.prompt_tokens_details.cached_tokens;

let salts = 0;
/** As on a fresh worker: a salt of its own shares nothing. */
const fresh = async (messages: readonly object[], more: object = {}): Promise<Answer> => {
  const alone = await answer(messages, { ...more, cache_salt: `fresh ${String((salts += 1))}` }, cold);
  expect(cachedOf(alone)).toBe(0);
  return alone;
};

/** The results in order; eight at a time. */
async function inParallel<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let begin = 0; begin < items.length; begin += 8)
    results.push(...(await Promise.all(items.slice(begin, begin + 8).map((item) => work(item)))));
  return results;
}

function noise(bytes: number, seed: number): Buffer {
  let state = seed + 1;
  return Buffer.from(
    Uint8Array.from({ length: bytes }, () => (state = Math.imul(state, 1_103_515_245) + 12_345) >>> 24),
  );
}

/** 64 x 64 indices in colours that one mask turns into others. */
function paletteUri(indices: Uint8Array, mask: number): string {
  const palette = Array.from({ length: 256 * 3 }, (_, at) => ((at * 37) % 256) ^ mask);
  const png = encodePng({ width: 64, height: 64, colour: 'palette', bitDepth: 8, samples: indices, palette });
  return `data:image/png;base64,${png.toString('base64')}`;
}

describe('cases from the field: what is kept and found again', () => {
  it('F02: pictures of one request do not push each other out of a small cache', async () => {
    const urls = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((seed) => pngUri(noise(256 * 256 * 3, seed), 256, 256)),
    );
    const [a = '', b = '', ...rest] = urls;
    for (const url of [a, b]) await answer([ask('Describe the image.', url)]);
    const messages = [ask('Describe the image.', ...rest, a, b)];
    const expected = textOf(await fresh(messages));
    expect(textOf(await answer(messages))).toBe(expected);
    expect(textOf(await answer(messages))).toBe(expected);
  });

  it('F03, F04: no picture is taken for another, whatever bytes or shape they share', async () => {
    const bytes = noise(64 * 256 * 3, 9);
    const grey = noise(64 * 64 * 3, 5);
    const urls = [
      await pngUri(bytes, 64, 256),
      await pngUri(bytes, 256, 64),
      await pngUri(grey, 64, 64),
      await pngUri(grey, 64, 192, 1),
      paletteUri(grey.subarray(0, 64 * 64), 0x3f),
      paletteUri(grey.subarray(0, 64 * 64), 0xc0),
      ...(await Promise.all(
        Array.from({ length: PICTURES }, (_, seed) => pngUri(noise(3 * 64 * 64, 100 + seed), 64, 64)),
      )),
    ];
    const question = (url: string) => [ask('Describe the image.', url)];
    const expected = await inParallel(urls, async (url) => {
      const [first, alone] = await Promise.all([answer(question(url)), fresh(question(url))]);
      // a picture nobody has seen shares the text before it at most
      expect(cachedOf(first)).toBeLessThan(16);
      expect(textOf(first)).toBe(textOf(alone));
      return textOf(alone);
    });
    // all of them again, in another order
    const order = urls.map((_, index) => (index * 1_000_003 + 7) % urls.length);
    expect(new Set(order).size).toBe(urls.length);
    const again = await inParallel(order, async (index) => textOf(await answer(question(urls[index] ?? ''))));
    expect(again).toEqual(order.map((index) => expected[index]));
  }, 3_600_000);

  it('F05: a salt shares nothing with another, whatever names it spells', async () => {
    const messages = [ask('What is at A1? '.repeat(8), picture('b'))];
    const salts = ['emoji-vlm', 'capsule', 'a', 'ab', 'a\u0000b', 'abc', undefined];
    for (const salt of salts) {
      const cached = cachedOf(await answer(messages, { cache_salt: salt }));
      // what has no salt shares the first tokens of a turn with other requests without one
      if (salt === undefined) expect(cached).toBeLessThan(16);
      else expect(cached).toBe(0);
    }
    for (const salt of salts)
      expect(cachedOf(await answer(messages, { cache_salt: salt }))).toBeGreaterThan(300);
  });

  it('F07: a prompt that is wholly cached still computes its last token', async () => {
    for (const remainder of [0, 1, 15]) {
      let text = `case ${String(remainder)}`;
      let prompt = (await answer([ask(text)], { max_tokens: 1 })).usage.prompt_tokens;
      while (prompt % 16 !== remainder || prompt < 64) {
        text += prompt < 64 ? ' bus' : ' a';
        prompt = (await answer([ask(text)], { max_tokens: 1, cache_salt: `count ${String(text.length)}` }))
          .usage.prompt_tokens;
        expect(text.length).toBeLessThan(2000);
      }
      const answers: Answer[] = [];
      for (let time = 0; time < 3; time += 1)
        answers.push(await answer([ask(text)], { logprobs: true, top_logprobs: 3 }));
      for (const one of answers) {
        expect(cachedOf(one)).toBeLessThan(one.usage.prompt_tokens);
        expect(one.choices).toEqual(answers[0]?.choices);
      }
      const fullBlocks = Math.floor((prompt - 1) / 16) * 16;
      for (const one of answers.slice(1)) expect(cachedOf(one)).toBeGreaterThanOrEqual(fullBlocks);
      const longer = await answer([ask(`${text} and one more`)]);
      expect(cachedOf(longer)).toBeGreaterThanOrEqual(fullBlocks - 16);
      expect(textOf(longer)).toBe(textOf(await fresh([ask(`${text} and one more`)])));
    }
  }, 120_000);

  it('F29: answers, logprobs and usage under preemption are those of a big pool', async () => {
    const small = await Cluster.start({ workerArgs: ['--pool-mib', '2', '--swap-mib', '0'] });
    try {
      const body = (seed: number) => ({
        ...{ temperature: 1, seed, frequency_penalty: 1, logprobs: true, ignore_eos: true, max_tokens: 400 },
      });
      const messages = (seed: number) => [ask(`Hello ${String(seed)}! `.repeat(10))];
      const seeds = [1, 2, 3, 4];
      const streaming = streamed(messages(5), body(5), small);
      const tight = await Promise.all(seeds.map((seed) => answer(messages(seed), body(seed), small)));
      const [whole] = (await fresh(messages(5), body(5))).choices;
      expect(await streaming).toEqual({ text: whole.message.content, logprobs: whole.logprobs?.content });
      for (const [index, seed] of seeds.entries()) {
        const expected = await fresh(messages(seed), body(seed));
        expect(tight[index]?.choices).toEqual(expected.choices);
        expect(tight[index]?.usage).toMatchObject({
          prompt_tokens: expected.usage.prompt_tokens,
          completion_tokens: 400,
          total_tokens: expected.usage.prompt_tokens + 400,
        });
        expect(cachedOf(tight[index] ?? expected)).toBeLessThan(16 * 4);
      }
      expect(await small.workerMetric(0, 'kvcapsule_worker_preemptions_total')).toBeGreaterThan(1);
    } finally {
      await small.stop();
    }
  }, 120_000);

  // q8 and q4 keep the answers small, too; all three at their full length fit when their pictures are capsules
  it.each([
    ['raw', 6, 600],
    ['q8', 5, 900],
    ['q4', 4, 900],
  ])(
    'pictures kept as %s are compressed before anybody is moved or preempted, and usage says so',
    async (codec, poolMib, answerTokens) => {
      const small = await Cluster.start({ workerArgs: ['--pool-mib', `${poolMib}`, '--codec', codec] });
      try {
        const conversations = ['a', 'b', 'c'].map((name, index) =>
          answer(
            [
              ask(
                'Describe the image.',
                picture(name),
                picture('d'),
                ...(codec === 'raw' ? [] : [picture('e')]),
              ),
            ],
            { ignore_eos: true, max_tokens: answerTokens + index },
            small,
          ),
        );
        const codecs = (await Promise.all(conversations)).map(({ usage }) => usage.kv_cache.codec);
        const counts = await Promise.all(
          ['recompressions_total', 'swaps_total{direction="out"}', 'preemptions_total'].map((name) =>
            small.workerMetric(0, `kvcapsule_worker_${name}`),
          ),
        );
        expect(counts[0]).toBeGreaterThan(0);
        expect(counts.slice(1)).toEqual([0, 0]);
        expect(codecs).toContain('capsule-mixed');
        for (const one of codecs) expect([codec, 'capsule-mixed']).toContain(one);
      } finally {
        await small.stop();
      }
    },
    120_000,
  );

  it('F33: what started is what ended, and tokens are those of the usages', async () => {
    const reasons = ['stop', 'length', 'abort', 'error'];
    const read = async () => {
      const value = (name: string) => cluster.workerMetric(0, name).catch(() => 0);
      const ended = await Promise.all(
        reasons.map((reason) => value(`kvcapsule_worker_requests_total{reason="${reason}"}`)),
      );
      return {
        started: await value('kvcapsule_worker_requests_started_total'),
        ended,
        prompt: await value('kvcapsule_worker_tokens_total{kind="prompt"}'),
        completion: await value('kvcapsule_worker_tokens_total{kind="completion"}'),
      };
    };
    const before = await read();
    const done: Answer[] = [];
    for (let index = 0; index < 5; index += 1)
      done.push(await answer([ask('Hello!')], { max_tokens: 3 + index, ignore_eos: true }));
    for (let index = 0; index < 5; index += 1) {
      const response = await cluster.chat({ model: 'emoji-vlm', n: 0, messages: [ask('x')] });
      expect(response.status).toBe(400);
    }
    const sum = (of: (answer: Answer) => number) => done.reduce((total, one) => total + of(one), 0);
    const middle = await read();
    expect(middle.started - before.started).toBe(5);
    expect(middle.prompt - before.prompt).toBe(sum(({ usage }) => usage.prompt_tokens));
    expect(middle.completion - before.completion).toBe(sum(({ usage }) => usage.completion_tokens));
    for (let index = 0; index < 5; index += 1) {
      const stop = new AbortController();
      const more = { stream: true, ignore_eos: true, max_tokens: 4000 };
      const response = await cluster.chat(
        { model: 'emoji-vlm', messages: [ask('Hello!')], ...more },
        { signal: stop.signal },
      );
      await response.body?.getReader().read();
      stop.abort();
    }
    await until(
      async () => (await cluster.workerMetric(0, 'kvcapsule_worker_requests_running')) === 0,
      60_000,
    );
    const after = await read();
    expect(after.started - before.started).toBe(10);
    const changes = after.ended.map((count, index) => count - (before.ended[index] ?? 0));
    expect(changes).toEqual([0, 5, 5, 0]);
  });

  it('F33: requests that are sent again after their worker was killed count once on each side', async () => {
    const alone = await Cluster.start({ workerArgs: ['--pool-mib', '24'] });
    try {
      const worker = alone.workers[0];
      if (worker === undefined) throw new Error('no worker');
      const body = (index: number, maxTokens: number) => ({
        model: 'emoji-vlm',
        ...{
          messages: [ask(`Hello ${String(index)}! `.repeat(12))],
          ignore_eos: true,
          max_tokens: maxTokens,
        },
      });
      const indices = [0, 1, 2, 3, 4];
      const lost = indices.map((index) => alone.chat(body(index, 4000)));
      await until(
        async () => (await alone.workerMetric(0, 'kvcapsule_worker_requests_running')) === 5,
        60_000,
      );
      await killPart(worker);
      // as long as nobody takes them over
      for (const response of await Promise.all(lost)) expect(response.status).toBe(503);
      alone.workers[0] = await alone.startWorker(0);
      await until(async () => (await alone.routerMetric('kvcapsule_router_workers')) === 1, 60_000);
      const again: Answer[] = [];
      for (const index of [...indices, 0])
        again.push(await answer(body(index, 5).messages, body(index, 5), alone));
      const sum = (of: (one: Answer) => number) => again.reduce((total, one) => total + of(one), 0);
      const worth = async (name: string, value: number) =>
        expect([name, await alone.workerMetric(0, `kvcapsule_worker_${name}`)]).toEqual([name, value]);
      await worth('requests_started_total', 6);
      await worth('requests_total{reason="length"}', 6);
      await worth(
        'tokens_total{kind="prompt"}',
        sum(({ usage }) => usage.prompt_tokens),
      );
      await worth('tokens_total{kind="completion"}', 30);
      // the last asks what the first has asked: the only hit there is
      expect(sum(cachedOf)).toBeGreaterThan(0);
      await worth('prefix_cache_tokens_total{outcome="hit"}', sum(cachedOf));
      for (const [labels, count] of [
        ['model="emoji-vlm",status="503",code="worker_lost"', 5],
        ['model="emoji-vlm",status="200",code="ok"', 6],
      ] as const)
        expect(await alone.routerMetric(`kvcapsule_router_requests_total{${labels}}`)).toBe(count);
    } finally {
      await alone.stop();
    }
  }, 120_000);
});
