import { KvcError } from '@kvcapsule/contracts/errors';
import { FinishReason } from '@kvcapsule/contracts/worker';
import { type PenaltyArrays, type StepPlan, TOKEN_DRAWN_BEFORE } from '@kvcapsule/engine';
import { workerDescriptor, workerLoad, workersOf } from '@kvcapsule/testing/ports';
import { afterEach, describe, expect, it } from 'vitest';

import { FakeEngine } from '@kvcapsule/testing/engine';
import {
  type Answer,
  type AskOptions,
  fileOf,
  generateOf,
  type Rig,
  type RigOptions,
  RouterSide,
  startRig,
  until,
} from './testing/harness.js';

const rigs: Rig[] = [];

async function rigOf(options: RigOptions = {}): Promise<Rig> {
  const rig = await startRig(options);
  rigs.push(rig);
  return rig;
}

afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close();
});

/** For requests that must not end by themselves. */
const NO_PAGES = { epoch: 1n, pages: 0, provisional: false };
const ENDLESS = { stopTokenIds: new Set<number>() };
const PROFILES = [{ tokens: 40, pages: 3 }];

/** Token 9, whatever the state. */
const FORCED = { logitBias: [{ tokenId: 9, bias: 100 }] };
const PENALTIES = { presencePenalty: 0.5, frequencyPenalty: 1, repetitionPenalty: 1.5 };

/** A mix of texts, pictures with and without a profile, sampled answers, penalties and log-probabilities. */
function requests(count: number): AskOptions[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `r${index}`,
    parts: [
      [10 + (index % 7), 11, 12],
      ...(index % 2 === 0 ? [{ tokens: 40, mark: index }] : []),
      ...(index % 3 === 0 ? [{ tokens: 21, mark: index + 100 }] : []),
      ...(index % 5 === 4
        ? []
        : [Array.from({ length: 5 + (index % 11) * 3 }, (_, at) => 7 + ((at * index) % 50))]),
    ],
    maxTokens: 30 + (index % 40),
    ...(index % 4 === 3 ? { seed: BigInt(index) } : {}),
    ...(index % 4 === 1 ? { sampling: { ...PENALTIES, topLogprobs: index % 3, minTokens: index } } : {}),
  }));
}

async function expectNothingLeft(rig: Rig): Promise<void> {
  const { scheduler } = rig.worker.serving;
  const { pictures } = rig.worker.serving;
  const { cache } = pictures;
  await until(() => pictures.takenBytes === 0 && rig.store.leases.size === 0);
  await until(() => rig.engine.images.size === cache.pictures);
  expect(cache.bytes).toBeLessThanOrEqual(cache.capacityBytes);
  expect(scheduler.pool.freePages).toBe(scheduler.pool.capacityPages);
  expect([rig.worker.serving.running, rig.worker.serving.waiting]).toEqual([0, 0]);
}

/** What an answer cost, however much of its prompt was cached. */
function computedUsage({ finished }: Answer): object {
  return { ...finished?.usage, cachedTokens: expect.any(Number) as number };
}

describe('answers', () => {
  it('do not change with batching, chunking and preemption', async () => {
    const roomy = await rigOf({
      engine: new FakeEngine(256, PROFILES),
      config: { maxStepTokens: 512, maxRunning: 1 },
    });
    const tight = await rigOf({
      engine: new FakeEngine(17, PROFILES),
      config: { maxStepTokens: 23, maxPrefillChunk: 9 },
    });
    const alone = new RouterSide(roomy.client);
    const together = new RouterSide(tight.client);
    // answers of several blocks: together they outgrow the pool
    const all = requests(24).map((options, index) => generateOf({ ...options, maxTokens: 90 + index }));
    for (const generate of all) together.send(generate);
    for (const generate of all) {
      const expected = await alone.ask(generate);
      const answer = await together.answer(generate.requestId);
      expect(answer.error).toBeUndefined();
      expect(answer.finished?.usage?.promptTokens).toBe(generate.tokenIds.length);
      expect(answer).toMatchObject({
        text: expected.text,
        tokenIds: expected.tokenIds,
        logprobs: expected.logprobs,
        finished: { reason: expected.finished?.reason, usage: computedUsage(expected) },
      });
      expect(answer.finished?.usage?.completionTokens).toBe(answer.tokenIds.length);
    }
    const { preemptions } = tight.metrics;
    expect((await preemptions.get()).values[0]?.value).toBeGreaterThan(0);
    expect(tight.engine.largestBatch).toBeGreaterThan(1);
    await expectNothingLeft(tight);
  });

  it('end as an error, never as an answer, where the pool has no room for the first token', async () => {
    const rig = await rigOf();
    const { scheduler } = rig.worker.serving;
    const plan = scheduler.plan.bind(scheduler);
    scheduler.plan = (ahead) => {
      const [id] = scheduler.waiting;
      const step = plan(ahead);
      return id && step && scheduler.finish(id)
        ? { ...step, chunks: [], samples: [], rows: 0, exhausted: [id] }
        : step;
    };
    const { error } = await new RouterSide(rig.client).ask(
      generateOf({ id: 'a', parts: [[10, 11]], maxTokens: 9 }),
    );
    expect(error?.code).toBe('KV_CAPACITY_EXCEEDED');
  });

  it('leave as started, deltas and finished, one event a kind and frame', async () => {
    const rig = await rigOf();
    const router = new RouterSide(rig.client);
    const [a, b] = await Promise.all([
      router.ask(generateOf({ id: 'a', parts: [[10, 11, 12]], maxTokens: 9 })),
      router.ask(generateOf({ id: 'b', parts: [[13, 14]], maxTokens: 9 })),
    ]);
    for (const { events } of [a, b]) {
      const kinds = events.map(({ event }) => event?.$case);
      expect(kinds[0]).toBe('started');
      expect(kinds.at(-1)).toBe('finished');
    }
    for (const frame of router.frames) {
      const named = frame.map(({ requestId, event }) => `${requestId} ${event?.$case}`);
      expect(new Set(named).size).toBe(named.length);
    }
    expect(router.frames.some((frame) => new Set(frame.map(({ requestId }) => requestId)).size === 2)).toBe(
      true,
    );
  });

  it('report what the prompt holds, compressed and raw', async () => {
    const rig = await rigOf({ engine: new FakeEngine(64, PROFILES) });
    const router = new RouterSide(rig.client);
    const { finished } = await router.ask(
      generateOf({ id: 'a', parts: [[10], { tokens: 40, mark: 1 }, [11]] }),
    );
    // one block each of text, markers and text, three pages of capsule; 44 tokens at 512 / 16 bytes
    expect(finished?.usage?.kv).toEqual({
      ...{ codec: 'capsule', bytes: 3n * 512n + 3n * 64n, rawBytes: 44n * 32n },
      pictures: { bytes: 512n + 3n * 64n, rawBytes: 42n * 32n },
    });
  });

  it('keep pictures as the request asks, and refuse what is not served by naming what is', async () => {
    const rig = await rigOf({ engine: new FakeEngine(64, PROFILES) });
    const router = new RouterSide(rig.client);
    const ask = (id: string, kvCodec: string) =>
      router.ask(generateOf({ id, parts: [[10], { tokens: 40, mark: 1 }, [11]], kvCodec }));
    const [asIs, raw, capsule] = await Promise.all([ask('a', ''), ask('b', 'raw'), ask('c', 'capsule')]);
    expect(asIs.finished?.usage?.kv?.codec).toBe('capsule');
    expect(capsule.finished?.usage?.kv).toEqual(asIs.finished?.usage?.kv);
    expect(raw.finished?.usage?.kv).toMatchObject({ codec: 'raw', pictures: { bytes: 3n * 512n } });
    const { error } = await ask('d', 'q4');
    expect(error).toMatchObject({ code: 'KV_CODEC_UNAVAILABLE', param: 'kv_codec' });
    expect(error?.message).toContain('raw, capsule');
  });

  it('stop before a stop string, wherever its pieces lie, and at length', async () => {
    const rig = await rigOf();
    const router = new RouterSide(rig.client);
    const ask = (stop: readonly string[], id: string) =>
      router.ask(generateOf({ id, parts: [[10, 11, 12]], maxTokens: 12, stop }));
    const free = await ask([], 'free');
    expect(free.finished?.reason).toBe(FinishReason.FINISH_REASON_LENGTH);
    expect(free.tokenIds).toHaveLength(12);
    const stop = free.text.slice(5, 10);
    const cut = await ask(['@@', stop], 'cut');
    expect(cut.text).toBe(free.text.slice(0, free.text.indexOf(stop)));
    expect(cut.finished?.reason).toBe(FinishReason.FINISH_REASON_STOP);
    expect(cut.finished?.usage?.completionTokens).toBe(cut.tokenIds.length);
    const first = await ask([free.text.slice(0, 2)], 'first');
    expect([first.text, first.tokenIds.length]).toEqual(['', 1]);
    const never = await ask([`${free.text.slice(-1)}@`], 'never');
    expect(never.text).toBe(free.text);
  });

  it('tell the log-probabilities of each token as it is drawn, whatever becomes of its text', async () => {
    const rig = await rigOf();
    const router = new RouterSide(rig.client);
    const ask = (id: string, stop: readonly string[], sampling: { topLogprobs?: number }) =>
      router.ask(generateOf({ id, parts: [[10, 11, 12]], maxTokens: 12, stop, sampling }));
    const free = await ask('free', [], {});
    const stop = free.text.slice(5, 10);
    const cut = await ask('cut', ['@@', stop], { topLogprobs: 3 });
    expect(cut.text).toBe(free.text.slice(0, free.text.indexOf(stop)));
    expect(cut.logprobs.map(({ tokenId }) => tokenId)).toEqual(cut.tokenIds);
    const drawn = cut.logprobs.map(({ text }) => text).join('');
    expect(drawn).toBe(free.text.slice(0, drawn.length));
    expect(drawn.startsWith(cut.text + stop)).toBe(true);
    expect(cut.logprobs.map(({ top }) => top.length)).toEqual(cut.logprobs.map(() => 3));
    expect(free.logprobs).toEqual([]);
    const { logprobs, tokenIds } = await ask('whole', [], { topLogprobs: 0 });
    expect(logprobs.map(({ tokenId }) => tokenId)).toEqual(tokenIds);
  });

  it('count as penalties do in vLLM: prompt for repetition, answer for all', async () => {
    const rig = await rigOf();
    const router = new RouterSide(rig.client);
    const seen: (number[][] | undefined)[] = [];
    const step = rig.engine.step.bind(rig.engine);
    rig.engine.step = (plan) => {
      if (plan.samples.length > 0) seen.push(plan.penalties && countedBy(plan, plan.penalties));
      return step(plan);
    };
    /** Factors, tokens and counts; a token that is not known yet is the forced one. */
    const countedBy = ({ tokens, samples }: StepPlan, penalties: PenaltyArrays): number[][] => {
      const counts = new Map([...penalties.tokens].map((token, at) => [token, penalties.counts[at] ?? 0]));
      const unknown = tokens[samples[0] ?? -1] === TOKEN_DRAWN_BEFORE;
      if (unknown) counts.set(9, (counts.get(9) ?? 0) + 1);
      return [[...penalties.factors], [...counts.keys()], [...counts.values()]];
    };
    const ask = async (id: string, sampling: object) => {
      seen.length = 0;
      const options = { id, parts: [[10, 11, 10]], maxTokens: 3, sampling: { ...FORCED, ...sampling } };
      await router.ask(generateOf(options));
      return [...seen];
    };
    expect(await ask('none', {})).toEqual([undefined, undefined, undefined]);
    expect(await ask('output', { presencePenalty: 0.5, frequencyPenalty: 1 })).toEqual([
      [[0.5, 1, 1], [], []],
      [[0.5, 1, 1], [9], [1]],
      [[0.5, 1, 1], [9], [2]],
    ]);
    expect(await ask('all', { repetitionPenalty: 2 })).toEqual([
      [
        [0, 0, 2],
        [10, 11],
        [0, 0],
      ],
      [
        [0, 0, 2],
        [10, 11, 9],
        [0, 0, 1],
      ],
      [
        [0, 0, 2],
        [10, 11, 9],
        [0, 0, 2],
      ],
    ]);
  });

  it('go on to min_tokens, and past end tokens where they are ignored', async () => {
    const rig = await rigOf();
    const router = new RouterSide(rig.client);
    const logitBias = [{ tokenId: 2, bias: 100 }];
    const ask = (id: string, sampling: object) =>
      router.ask(generateOf({ id, parts: [[10, 11]], maxTokens: 8, sampling: { logitBias, ...sampling } }));
    expect((await ask('now', {})).tokenIds).toEqual([2]);
    const late = await ask('late', { minTokens: 5 });
    expect(late.tokenIds).toHaveLength(6);
    expect(late.tokenIds.indexOf(2)).toBe(5);
    const ignored = await ask('ignored', { ignoreEos: true, topLogprobs: 1 });
    expect(ignored.tokenIds).toEqual(new Array(8).fill(2));
    expect(ignored.finished?.reason).toBe(FinishReason.FINISH_REASON_LENGTH);
    expect(ignored.logprobs).toHaveLength(8);
  });

  it('are refused for a bias of a token that the model does not have', async () => {
    const rig = await rigOf();
    const sampling = { logitBias: [{ tokenId: 64, bias: 1 }] };
    const answer = await new RouterSide(rig.client).ask(generateOf({ id: 'a', parts: [[10]], sampling }));
    expect(answer.error).toMatchObject({ code: 'INVALID_REQUEST', param: 'logit_bias' });
  });

  it('end at the end token', async () => {
    const rig = await rigOf();
    const router = new RouterSide(rig.client);
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        router.ask(generateOf({ id: `r${index}`, parts: [[10 + index, 20]], maxTokens: 400 })),
      ),
    );
    for (const { finished, tokenIds } of answers) {
      const ended = finished?.reason === FinishReason.FINISH_REASON_STOP;
      expect(tokenIds.at(-1) === 2).toBe(ended);
      expect(tokenIds.slice(0, -1)).not.toContain(2);
    }
    expect(answers.some(({ finished }) => finished?.reason === FinishReason.FINISH_REASON_STOP)).toBe(true);
  });
});

describe('ends', () => {
  it('leave no page, picture or lease behind after 1,000 random aborts', async () => {
    const rig = await rigOf({ engine: new FakeEngine(24, PROFILES), config: { maxStepTokens: 40 } });
    const router = new RouterSide(rig.client);
    const all = requests(1000);
    for (const [index, options] of all.entries()) {
      router.send(generateOf({ ...options, lease: { ...NO_PAGES, leaseId: `l${index}` } }));
      if (index % 10 === 9) await new Promise((resolve) => setTimeout(resolve, index % 4));
      // itself at once, or an earlier one wherever that is by now
      router.abort(all[index - (index % 3 === 0 ? 0 : (index * 7) % Math.min(index, 40))]?.id ?? '');
    }
    await until(() => rig.worker.serving.running > 0);
    for (const { id } of all) router.abort(id);
    const answers = await Promise.all(all.map(({ id }) => router.answer(id)));
    const reasons = answers.map(({ finished }) => finished?.reason);
    expect(reasons).not.toContain(undefined);
    expect(reasons.filter((reason) => reason === FinishReason.FINISH_REASON_ABORT).length).toBeGreaterThan(
      500,
    );
    expect(rig.engine.steps).toBeGreaterThan(100);
    await expectNothingLeft(rig);
  });

  it('come to all requests of a broken stream', async () => {
    const rig = await rigOf({ ...ENDLESS, engine: new FakeEngine(64, PROFILES, 2) });
    const router = new RouterSide(rig.client);
    for (const options of requests(10)) router.send(generateOf({ ...options, maxTokens: 400 }));
    const { serving } = rig.worker;
    await until(() => serving.running > 0 && serving.running + serving.waiting === 10);
    router.stream.cancel();
    await until(() => rig.worker.serving.running + rig.worker.serving.waiting === 0);
    await expectNothingLeft(rig);
    expect((await rig.metrics.requests.get()).values).toMatchObject([
      { labels: { reason: 'abort' }, value: 10 },
    ]);
  });

  it('wait for the answers of a router that sends nothing more', async () => {
    const rig = await rigOf(ENDLESS);
    const router = new RouterSide(rig.client);
    router.send(generateOf({ id: 'a', parts: [[10]], maxTokens: 9 }));
    router.stream.end();
    const closed = new Promise((resolve) => router.stream.on('end', resolve));
    expect((await router.answer('a')).tokenIds).toHaveLength(9);
    await closed;
  });

  it('come at the deadline', async () => {
    const rig = await rigOf({ ...ENDLESS, engine: new FakeEngine(64, [], 5) });
    const router = new RouterSide(rig.client);
    const { error } = await router.ask(
      generateOf({ id: 'a', parts: [[10]], maxTokens: 400, seed: 3n, remainingMs: 40n }),
    );
    expect(error?.code).toBe('DEADLINE_EXCEEDED');
    await expectNothingLeft(rig);
  });
});

describe('pictures', () => {
  const lookups = async (rig: Rig) => {
    const { values } = await rig.metrics.encoderCacheLookups.get();
    return Object.fromEntries(values.map(({ labels, value }) => [String(labels.outcome), value]));
  };

  it('that come again are not computed again, whatever file brings them', async () => {
    let decoded = 0;
    const rig = await rigOf({
      decodeImage: (encoded) => {
        decoded += 1;
        // the third byte is what a file may say besides its pixels
        return Promise.resolve({ rgb: encoded.subarray(1, 2), width: encoded[0] ?? 0, height: 1 });
      },
    });
    const router = new RouterSide(rig.client);
    const ask = (id: string, extra: readonly number[]) => {
      const generate = generateOf({ id, parts: [{ tokens: 20, mark: 1 }, [10]] });
      const [picture] = generate.pictures;
      if (picture) Object.assign(picture, fileOf([20, 1, ...extra]));
      return router.ask(generate);
    };
    const answers = [await ask('a', []), await ask('b', []), await ask('c', [5]), await ask('d', [5])];
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect([rig.engine.encoded, decoded]).toEqual([1, 2]);
    // of the same file not even the features are needed
    expect(await lookups(rig)).toEqual({ hit: 1, miss: 1 });
    await expectNothingLeft(rig);
  });

  it('of several requests at one time are computed once', async () => {
    const rig = await rigOf({ engine: new FakeEngine(64, [], 5) });
    const router = new RouterSide(rig.client);
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        router.ask(generateOf({ id: `r${index}`, parts: [{ tokens: 20, mark: index % 2 }, [10]] })),
      ),
    );
    expect(new Set(answers.map(({ text }) => text)).size).toBe(2);
    expect(rig.engine.encoded).toBe(2);
    expect(await lookups(rig)).toEqual({ hit: 6, miss: 2 });
    await expectNothingLeft(rig);
  });

  it('F05: that another tenant or salt brought are computed anew, and change no answer', async () => {
    const rig = await rigOf();
    const router = new RouterSide(rig.client);
    const parts = [{ tokens: 20, mark: 1 }, [10]];
    const ask = (id: string, domain: { readonly cacheSalt: string; readonly tenant?: string }) =>
      router.ask({ ...generateOf({ id: `${id} ${JSON.stringify(domain)}`, parts }), ...domain });
    const domains = [
      ...['a', 'b', '', 'p'].map((cacheSalt) => ({ cacheSalt })),
      { cacheSalt: 'a', tenant: 't' },
      { cacheSalt: '', tenant: 'ta' },
    ];
    const cold = [];
    for (const domain of domains) cold.push(await ask('cold', domain));
    expect(cold.map(({ finished }) => finished?.usage?.cachedTokens)).toEqual(domains.map(() => 0));
    expect([rig.engine.encoded, await lookups(rig)]).toEqual([6, { miss: 6 }]);
    const again = [];
    for (const domain of domains) again.push(await ask('again', domain));
    expect(rig.engine.encoded).toBe(6);
    expect(new Set([...cold, ...again].map(({ text }) => text)).size).toBe(1);
    await expectNothingLeft(rig);
  });

  it('F02: of one request stay until they are used, however small the cache', async () => {
    const parts = [3, 4, 5, 6, 1, 2].map((mark) => ({ tokens: 20, mark }));
    const roomy = await rigOf({ config: { encoderCacheBytes: 1e6 } });
    const expected = await new RouterSide(roomy.client).ask(generateOf({ id: 'x', parts: [...parts, [10]] }));
    const rig = await rigOf({ config: { encoderCacheBytes: 4 * 20 * 4 } });
    const router = new RouterSide(rig.client);
    for (const mark of [1, 2])
      await router.ask(generateOf({ id: `warm${mark}`, parts: [{ tokens: 20, mark }, [10]] }));
    const twice = ['a', 'b'].map((id) => generateOf({ id, parts: [...parts, [10]] }));
    const others = [7, 8, 9].map((mark) =>
      generateOf({ id: `o${mark}`, parts: [{ tokens: 20, mark }, [10]] }),
    );
    const answers = await Promise.all([...twice, ...others].map((generate) => router.ask(generate)));
    expect(answers.map(({ error }) => error)).toEqual(answers.map(() => undefined));
    expect(answers.slice(0, 2).map(({ text }) => text)).toEqual([expected.text, expected.text]);
    await expectNothingLeft(rig);
  });

  it('F03, F04: answer as on a fresh worker, hundreds of them in every order and shape', async () => {
    const fresh = await rigOf({ config: { encoderCacheBytes: 0 } });
    const rig = await rigOf({ config: { encoderCacheBytes: 1e6 } });
    // equal bytes in 20 shapes, and 15 contents of each
    const all = Array.from({ length: 300 }, (_, index) => ({ tokens: 2 + (index % 20), mark: index % 15 }));
    const shuffled = all.map((_, index) => (index * 7) % all.length);
    const cold = new RouterSide(fresh.client);
    const expected = await Promise.all(
      all.map((picture, index) =>
        cold.ask(generateOf({ id: `r${index}`, parts: [picture, [10]], maxTokens: 6 })),
      ),
    );
    const router = new RouterSide(rig.client);
    for (const [round, order] of [[...all.keys()], shuffled].entries()) {
      const answers = await Promise.all(
        order.map((index) =>
          router.ask(generateOf({ id: `${round}/${index}`, parts: [all[index] ?? [], [10]], maxTokens: 6 })),
        ),
      );
      expect(answers.map(({ text }) => text)).toEqual(order.map((index) => expected[index]?.text));
    }
    expect(rig.engine.encoded).toBe(60);
    await expectNothingLeft(rig);
  });
});

describe('priorities', () => {
  it('decide who is admitted first, before the order of arrival', async () => {
    const rig = await rigOf({ ...ENDLESS, engine: new FakeEngine(64, [], 3), config: { maxRunning: 1 } });
    const router = new RouterSide(rig.client);
    const ended: string[] = [];
    const ask = async (id: string, priority: number) => {
      await router.ask(generateOf({ id, parts: [[10]], maxTokens: 6, priority }));
      ended.push(id);
    };
    const first = ask('first', 0);
    await until(() => rig.worker.serving.running === 1);
    const rest = [ask('late', 7), ask('normal', 0), ask('urgent', -2)];
    await until(() => rig.worker.serving.scheduler.waiting.length === 3);
    await Promise.all([first, ...rest]);
    expect(ended).toEqual(['first', 'urgent', 'normal', 'late']);
  });
});

describe('faults', () => {
  it('of a picture name the part and spare the neighbours', async () => {
    const rig = await rigOf({
      decodeImage: (encoded, param) =>
        encoded[1] === 99
          ? Promise.reject(new KvcError('IMAGE_INVALID', 'The picture is cut off.', { param }))
          : Promise.resolve({
              rgb: encoded.subarray(1),
              width: (encoded[0] ?? 0) + (encoded[1] === 98 ? 1 : 0),
              height: 1,
            }),
    });
    const router = new RouterSide(rig.client);
    const broken = router.ask(
      generateOf({ id: 'broken', parts: [{ tokens: 20, mark: 1 }, { tokens: 20, mark: 99 }, [10]] }),
    );
    const other = router.ask(generateOf({ id: 'other', parts: [{ tokens: 20, mark: 98 }, [10]] }));
    const good = router.ask(generateOf({ id: 'good', parts: [{ tokens: 20, mark: 1 }, [10]] }));
    expect((await broken).error).toMatchObject({ code: 'IMAGE_INVALID', param: 'messages.0.content.1' });
    const { error } = await other;
    const message = 'The picture makes 21 image tokens; the prompt has 20 for it.';
    expect([error?.code, error?.message]).toEqual(['IMAGE_INVALID', message]);
    expect((await good).finished).toBeDefined();
    await expectNothingLeft(rig);
  });

  it('of a step fail its requests and not the process', async () => {
    const rig = await rigOf();
    const router = new RouterSide(rig.client);
    rig.engine.failNext = 1;
    const answer = await router.ask(generateOf({ id: 'a', parts: [[10]] }));
    expect(answer.error?.code).toBe('ENGINE_FAILED');
    expect((await router.ask(generateOf({ id: 'b', parts: [[10]] }))).finished).toBeDefined();
    expect(rig.worker.serving.state).toBe('ready');
    await expectNothingLeft(rig);
  });

  it('of every step make the worker failed', async () => {
    const rig = await rigOf();
    const router = new RouterSide(rig.client);
    rig.engine.failNext = 100;
    for (let index = 0; index < 5; index += 1)
      await router.ask(generateOf({ id: `r${index}`, parts: [[10]] }));
    expect(rig.worker.serving.state).toBe('failed');
    expect((await router.ask(generateOf({ id: 'late', parts: [[10]] }))).error?.code).toBe('NO_WORKER');
  });

  it('in a request are told, each by its code', async () => {
    const rig = await rigOf({ engine: new FakeEngine(4) });
    const router = new RouterSide(rig.client);
    const good = generateOf({ id: 'a', parts: [[10]] });
    const code = async (change: Partial<typeof good>) =>
      (await router.ask({ ...good, ...change })).error?.code;
    expect(await code({ tokenIds: [] })).toBe('INVALID_REQUEST');
    expect(await code({ tokenIds: [64] })).toBe('INVALID_REQUEST');
    expect(await code({ maxTokens: 0 })).toBe('INVALID_REQUEST');
    expect(await code({ tokenIds: Array.from({ length: 513 }, () => 10) })).toBe('CONTEXT_LENGTH_EXCEEDED');
    expect(await code({ tokenIds: Array.from({ length: 65 }, () => 10) })).toBe('KV_CAPACITY_EXCEEDED');
    const lease = { leaseId: 'l', epoch: 7n, pages: 8, provisional: false };
    expect(await code({ lease })).toBe('STALE_EPOCH');
    expect(await code({})).toBeUndefined();
    await expectNothingLeft(rig);
  });
});

describe('the context', () => {
  it.each([
    [512, 20, 1],
    [511, 20, 2],
    [500, 13, 13],
    [500, 20, 13],
  ])(
    'of 512 tokens gives a prompt of %i and %i more at most %i tokens',
    async (prompt, maxTokens, answer) => {
      const rig = await rigOf({ engine: new FakeEngine(40) });
      const router = new RouterSide(rig.client);
      const parts = [Array.from({ length: prompt }, () => 10)];
      const sampling = { ignoreEos: true };
      const { finished } = await router.ask(generateOf({ id: 'a', parts, maxTokens, sampling }));
      expect(finished?.reason).toBe(FinishReason.FINISH_REASON_LENGTH);
      expect(finished?.usage?.completionTokens).toBe(answer);
      await expectNothingLeft(rig);
    },
  );
});

describe('counters', () => {
  const sum = async (metric: { get(): Promise<{ values: { value: number; labels: object }[] }> }) =>
    (await metric.get()).values.reduce((total, { value }) => total + value, 0);

  it('F33: agree with what the requests were told, however they end', async () => {
    const rig = await rigOf({ engine: new FakeEngine(20, PROFILES), config: { maxStepTokens: 23 } });
    const router = new RouterSide(rig.client);
    const all = requests(40).map(generateOf);
    const bad = all.slice(0, 5).map((one, index) => ({ ...one, requestId: `bad${index}`, maxTokens: 0 }));
    for (const generate of [...all, ...bad]) router.send(generate);
    await until(() => rig.worker.serving.running > 0);
    for (const { requestId } of all.slice(10, 20)) router.abort(requestId);
    const answers = await Promise.all([...all, ...bad].map(({ requestId }) => router.answer(requestId)));
    const { requestsStarted, requests: ended, tokens, preemptions } = rig.metrics;
    expect(await sum(preemptions)).toBeGreaterThan(0);
    expect([await sum(requestsStarted), await sum(ended)]).toEqual([45, 45]);
    const usages = answers.flatMap(({ finished }) => finished?.usage ?? []);
    const total = (of: (usage: (typeof usages)[number]) => number) =>
      usages.reduce((all, usage) => all + of(usage), 0);
    const counted = (await tokens.get()).values.map(({ labels, value }) => [labels.kind, value]);
    expect(Object.fromEntries(counted)).toEqual({
      prompt: total(({ promptTokens }) => promptTokens),
      completion: total(({ completionTokens }) => completionTokens),
    });
    const reasons = Object.fromEntries(
      (await ended.get()).values.map(({ labels, value }) => [labels.reason, value]),
    ) as Record<string, number>;
    expect(reasons['error']).toBe(5);
    expect(reasons['abort']).toBeGreaterThan(0);
    const told = answers.filter(({ finished }) => finished?.reason === FinishReason.FINISH_REASON_ABORT);
    expect(reasons['abort']).toBe(told.length);
  });

  it('F29: and answers, logprobs too, are as with a big pool when requests are preempted', async () => {
    const seeded = requests(12).map((options, index) => {
      const generate = generateOf({ ...options, maxTokens: 100, seed: BigInt(index + 1) });
      if (generate.sampling) Object.assign(generate.sampling, { topLogprobs: 2, frequencyPenalty: 1 });
      return generate;
    });
    const big = await rigOf({ ...ENDLESS, engine: new FakeEngine(400, PROFILES) });
    const engine = new FakeEngine(16, PROFILES);
    const tight = await rigOf({ ...ENDLESS, engine, config: { maxStepTokens: 31 } });
    const [alone, together] = [new RouterSide(big.client), new RouterSide(tight.client)];
    for (const generate of seeded) together.send(generate);
    for (const generate of seeded) {
      const expected = await alone.ask(generate);
      const answer = await together.answer(generate.requestId);
      expect(answer).toMatchObject({
        text: expected.text,
        tokenIds: expected.tokenIds,
        finished: { reason: expected.finished?.reason, usage: computedUsage(expected) },
      });
      const logprobs = ({ events }: typeof answer) =>
        events.flatMap(({ event }) => (event?.$case === 'delta' ? event.value.logprobs : []));
      expect(logprobs(answer)).toEqual(logprobs(expected));
      expect(logprobs(answer).length).toBeGreaterThan(0);
    }
    expect(await sum(tight.metrics.preemptions)).toBeGreaterThan(1);
    expect(await sum(big.metrics.preemptions)).toBe(0);
    // F33: what is found again after a preemption is no hit
    const hits = (await tight.metrics.prefixTokens.get()).values.find(
      ({ labels }) => labels.outcome === 'hit',
    );
    const told = await Promise.all(seeded.map(({ requestId }) => together.answer(requestId)));
    const cached = told.reduce((all, { finished }) => all + (finished?.usage?.cachedTokens ?? NaN), 0);
    expect(hits?.value).toBe(cached);
  });
});

describe('the prefix cache', () => {
  const text = (count: number, from = 0): number[] =>
    Array.from({ length: count }, (_, index) => 10 + ((index * 7 + from) % 40));

  it.each([31, 32, 33, 47, 48, 49])(
    'F07: leaves a token of a cached prompt of %i to compute',
    async (count) => {
      const rig = await rigOf();
      const router = new RouterSide(rig.client);
      const ask = (id: string, parts: AskOptions['parts']) =>
        router.ask(generateOf({ id, parts, maxTokens: 5 }));
      const answers = [];
      for (const id of ['a', 'b', 'c']) answers.push(await ask(id, [text(count)]));
      expect(new Set(answers.map((answer) => answer.text)).size).toBe(1);
      const cached = answers.map(({ finished }) => finished?.usage?.cachedTokens);
      expect(cached).toEqual([0, count - 1, count - 1]);
      const longer = await ask('d', [[...text(count), 9, 9, 9]]);
      expect(longer.finished?.usage?.cachedTokens).toBe(count);
      const cold = await rigOf();
      const expected = await new RouterSide(cold.client).ask(
        generateOf({ id: 'd', parts: [[...text(count), 9, 9, 9]], maxTokens: 5 }),
      );
      expect(longer.text).toBe(expected.text);
      await expectNothingLeft(rig);
    },
  );

  it.each([
    ['raw', 0],
    ['capsule', 3],
  ])(
    'F02: gives a %s picture that comes again without encoding it, beside new ones',
    async (kvCodec, pages) => {
      const rig = await rigOf({ engine: new FakeEngine(64, PROFILES) });
      const router = new RouterSide(rig.client);
      const ask = (id: string, marks: readonly number[]) => {
        const pictures = marks.map((mark) => ({ tokens: 40, mark }));
        return router.ask(generateOf({ id, parts: [text(5), ...pictures, [11, 12]], kvCodec, maxTokens: 5 }));
      };
      const cold = await ask('a', [1, 2]);
      const [again, other] = [await ask('b', [1, 2]), await ask('c', [1, 3])];
      expect(again.text).toBe(cold.text);
      expect([cold, again, other].map(({ finished }) => finished?.usage?.cachedTokens)).toEqual([0, 90, 47]);
      expect(rig.engine.encoded).toBe(3);
      expect(again.finished?.usage?.kv).toEqual(cold.finished?.usage?.kv);
      const pageBytes = BigInt(pages) * 64n;
      expect(cold.finished?.usage?.kv?.pictures?.bytes).toBe(pages > 0 ? 2n * (512n + pageBytes) : 6n * 512n);
      await expectNothingLeft(rig);
    },
  );

  it('gives nothing to a picture that only looks alike by its size', async () => {
    const rig = await rigOf();
    const router = new RouterSide(rig.client);
    const ask = (id: string, mark: number) =>
      router.ask(generateOf({ id, parts: [text(5), { tokens: 20, mark }, [11]], maxTokens: 5 }));
    const [first, second] = [await ask('a', 1), await ask('b', 2)];
    expect(second.finished?.usage?.cachedTokens).toBe(5);
    expect(second.text).not.toBe(first.text);
  });

  it('gives way to running requests, and answers as cold then', async () => {
    const rig = await rigOf({ engine: new FakeEngine(8) });
    const router = new RouterSide(rig.client);
    const roomy = new RouterSide((await rigOf({ engine: new FakeEngine(400) })).client);
    for (let index = 0; index < 12; index += 1) {
      const generate = generateOf({ id: `r${index}`, parts: [text(60, index % 4)], maxTokens: 20 });
      expect((await router.ask(generate)).text).toBe((await roomy.ask(generate)).text);
    }
    expect(rig.worker.serving.scheduler.counters.evictedPages).toBeGreaterThan(0);
    await expectNothingLeft(rig);
  });
});

describe('the pressure ladder', () => {
  it('moves pages out and back before it preempts, and changes no answer', async () => {
    const engine = new FakeEngine(16, PROFILES);
    const tight = await rigOf({ ...ENDLESS, engine, config: { maxStepTokens: 31, swapPages: 1_000 } });
    const big = await rigOf({ ...ENDLESS, engine: new FakeEngine(400, PROFILES) });
    const [alone, together] = [new RouterSide(big.client), new RouterSide(tight.client)];
    const all = requests(12).map((options) => generateOf({ ...options, maxTokens: 100 }));
    for (const generate of all) together.send(generate);
    for (const generate of all) {
      expect((await together.answer(generate.requestId)).text).toBe((await alone.ask(generate)).text);
    }
    const { swapsOut, swapsIn, preemptions } = tight.worker.serving.scheduler.counters;
    expect(swapsOut).toBeGreaterThan(0);
    expect([swapsIn, preemptions]).toEqual([swapsOut, 0]);
    await expectNothingLeft(tight);
  });

  it('compresses raw pictures first, but none of a request that names its codec', async () => {
    const run = async (kvCodec: string) => {
      // slow enough for the second one to come while the first one runs
      const engine = new FakeEngine(11, PROFILES, 2);
      const rig = await rigOf({ ...ENDLESS, engine, codec: 'raw', config: { swapPages: 1_000 } });
      const router = new RouterSide(rig.client);
      const all = Array.from({ length: 2 }, (_, index) =>
        generateOf({
          id: `r${index}`,
          parts: [[10], { tokens: 40, mark: index }, [11]],
          kvCodec,
          maxTokens: 46,
        }),
      );
      const answers = await Promise.all(all.map((generate) => router.ask(generate)));
      await expectNothingLeft(rig);
      const kept = answers.map(({ finished }) => {
        const { codec = '', pictures } = finished?.usage?.kv ?? {};
        return [codec, Number(pictures?.bytes) / rig.engine.info.pageBytes];
      });
      return { ...rig.worker.serving.scheduler.counters, kept };
    };
    expect(await run('')).toMatchObject({ preemptions: 0, swapsOut: 0 });
    const pressed = await run('');
    expect(pressed.recompressions).toBeGreaterThan(0);
    // usage tells what the picture became: 3 pages and a block for its markers instead of 3 blocks
    const became = pressed.kept.filter(([codec]) => codec === 'capsule');
    expect(became).toHaveLength(pressed.recompressions);
    expect(new Set(became.map(([, pages]) => pages))).toEqual(new Set([11]));
    const named = await run('raw');
    expect(named).toMatchObject({ recompressions: 0, kept: Array(2).fill(['raw', 24]) });
    expect(named.swapsOut).toBeGreaterThan(0);
  });
});

describe('the cluster', () => {
  it('hears of the worker and of its leases', async () => {
    const rig = await rigOf({ engine: new FakeEngine(64, PROFILES, 1) });
    expect((await workersOf(rig.registry))[0]).toMatchObject({
      ...{ workerId: 'w', capacityPages: 512, codecs: ['raw', 'capsule'] },
      formats: [{ codec: 'capsule', tokens: 40, markerRows: [], pages: 3 }],
    });
    const router = new RouterSide(rig.client);
    const lease = { leaseId: 'l', epoch: 1n, pages: 64, provisional: false };
    router.send(
      generateOf({ id: 'a', parts: [{ tokens: 40, mark: 1 }, [10]], maxTokens: 200, seed: 1n, lease }),
    );
    await until(() => (rig.store.leases.get('l')?.committed ?? false) && rig.worker.serving.running === 1);
    for (let index = 0; index < 20; index += 1) {
      await new Promise((resolve) => setTimeout(resolve, 3));
      const held = rig.worker.serving.scheduler.pool.heldPages;
      if (rig.store.leases.has('l')) expect(rig.store.leasedPages).toBeGreaterThanOrEqual(held - 8);
    }
    await router.answer('a');
    await expectNothingLeft(rig);
  });

  it('goes on without the store, and gives leases back when it is there again', async () => {
    const rig = await rigOf();
    const router = new RouterSide(rig.client);
    await rig.ledger.reserve({ workerId: 'w', epoch: 1, leaseId: 'l' }, 16);
    rig.store.away = true;
    const lease = { leaseId: 'l', epoch: 1n, pages: 16, provisional: false };
    expect((await router.ask(generateOf({ id: 'a', parts: [[10]], lease }))).finished).toBeDefined();
    expect(rig.store.leases.size).toBe(1);
    rig.store.away = false;
    await expectNothingLeft(rig);
  });

  it('gets the worker and its running leases back after the store was restarted', async () => {
    const rig = await rigOf({ ...ENDLESS, engine: new FakeEngine(64, [], 4) });
    const router = new RouterSide(rig.client);
    const lease = { leaseId: 'l', epoch: 1n, pages: 16, provisional: false };
    router.send(generateOf({ id: 'a', parts: [[10]], maxTokens: 60, lease }));
    await until(() => rig.worker.serving.running === 1);
    rig.store.forget();
    await until(() => rig.worker.epoch() > 1);
    await until(() => rig.store.leases.has('l'));
    expect((await router.answer('a')).error).toBeUndefined();
    await expectNothingLeft(rig);
  });

  it('stops a worker that was replaced', async () => {
    let replaced = false;
    const rig = await rigOf({
      ...ENDLESS,
      engine: new FakeEngine(64, [], 4),
      onReplaced: () => (replaced = true),
    });
    const router = new RouterSide(rig.client);
    router.send(generateOf({ id: 'a', parts: [[10]], maxTokens: 400, seed: 1n }));
    await until(() => rig.worker.serving.running === 1);
    const other = { instanceId: 'other', heldEpoch: 0 };
    await rig.registry.register(workerDescriptor('w'), workerLoad(), other);
    expect((await router.answer('a')).error?.code).toBe('STALE_EPOCH');
    expect(replaced).toBe(true);
  });

  it('takes nothing from anybody when the ledger refuses to let requests grow, and asks again', async () => {
    const rig = await rigOf({ ...ENDLESS, engine: new FakeEngine(64, [], 1) });
    const router = new RouterSide(rig.client);
    await rig.ledger.reserve({ workerId: 'w', epoch: 1, leaseId: 'others' }, 512 - 2 * 16);
    const ids = ['a', 'b'];
    for (const id of ids) {
      const lease = { leaseId: id, epoch: 1n, pages: 16, provisional: false };
      router.send(generateOf({ id, parts: [[10, 11]], maxTokens: 300, lease }));
    }
    const held = () => rig.worker.serving.scheduler.pool.heldPages;
    const leased = () => ids.reduce((sum, id) => sum + (rig.store.leases.get(id)?.pages ?? 0), 0);
    await until(() => held() > 2 * 16);
    expect(leased()).toBe(2 * 16);
    await rig.ledger.release({ workerId: 'w', epoch: 1, leaseId: 'others' });
    await until(() => leased() >= held());
    const answers = await Promise.all(ids.map((id) => router.answer(id)));
    expect(answers.map(({ error }) => error)).toEqual([undefined, undefined]);
    expect(answers[0]?.text).toBe(answers[1]?.text);
    expect(rig.worker.serving.scheduler.counters).toMatchObject({ preemptions: 0, swapsOut: 0 });
    await expectNothingLeft(rig);
  });
});

describe('operation', () => {
  it('drains: refuses new requests, lets running ones end, aborts what is left', async () => {
    const rig = await rigOf(ENDLESS);
    const router = new RouterSide(rig.client);
    // however busy the machine is: no step before the drain has begun, and 'b' does not end by itself
    const [begin, end] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const step = rig.engine.step.bind(rig.engine);
    rig.engine.step = async (plan) => {
      await (rig.engine.steps < 20 ? begin : end).promise;
      return step(plan);
    };
    const drain = (timeoutMs: number) =>
      new Promise<number>((resolve, reject) => {
        rig.client.drain({ timeoutMs }, (error, response) => {
          if (error) reject(error);
          else resolve(response.aborted);
        });
      });
    router.send(generateOf({ id: 'a', parts: [[10]], maxTokens: 10 }));
    router.send(generateOf({ id: 'b', parts: [[11]], maxTokens: 400, seed: 1n }));
    const { serving } = rig.worker;
    await until(() => serving.running + serving.waiting === 2);
    const drained = drain(60_000);
    await until(() => rig.store.entry('w').load?.state === 'draining');
    expect((await router.ask(generateOf({ id: 'late', parts: [[10]] }))).error?.code).toBe('DRAINING');
    begin.resolve();
    expect((await router.answer('a')).finished?.reason).toBe(FinishReason.FINISH_REASON_LENGTH);
    expect(await drain(10)).toBe(1);
    expect((await router.answer('b')).finished?.reason).toBe(FinishReason.FINISH_REASON_ABORT);
    end.resolve();
    expect(await drained).toBe(0);
    expect(await drain(10)).toBe(0);
  });
});
