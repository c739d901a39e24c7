import { FinishReason } from '@kvcapsule/contracts/worker';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';

import { FakeEngine } from '@kvcapsule/testing/engine';
import {
  type Answer,
  type AskOptions,
  generateOf,
  RouterSide,
  startRig,
  type Rig,
  until,
} from './testing/harness.js';

vi.setConfig({ testTimeout: 120_000 });

const PROFILES = [{ tokens: 40, pages: 3 }];
const PENALTIES = { presencePenalty: 0.5, frequencyPenalty: 1, repetitionPenalty: 1.5 };

const requestArbitrary = fc.record({
  text: fc.array(fc.integer({ min: 7, max: 60 }), { minLength: 1, maxLength: 40 }),
  picture: fc.option(fc.record({ tokens: fc.constantFrom(21, 40), mark: fc.nat(3) })),
  maxTokens: fc.integer({ min: 1, max: 60 }),
  seed: fc.option(fc.bigInt({ min: 0n, max: 99n }), { nil: undefined }),
  stop: fc.option(fc.integer({ min: 0, max: 63 })),
  penalised: fc.boolean(),
  topLogprobs: fc.option(fc.nat(2), { nil: undefined }),
  minTokens: fc.nat(20),
  /** Milliseconds until the router changes its mind. */
  abortMs: fc.option(fc.nat(30), { freq: 3 }),
  again: fc.boolean(),
});
type Shape = typeof requestArbitrary extends fc.Arbitrary<infer T> ? T : never;

function toOptions(shape: Shape, index: number): AskOptions {
  const { topLogprobs, minTokens } = shape;
  const letters = (token: number): string =>
    String.fromCharCode(97 + (token % 8)) + String.fromCharCode(97 + (token >> 3));
  return {
    id: `r${index}`,
    parts: [shape.text.slice(0, 3), ...(shape.picture ? [shape.picture] : []), shape.text],
    maxTokens: shape.maxTokens,
    ...(shape.seed !== undefined && { seed: shape.seed }),
    ...(shape.stop !== null && { stop: [letters(shape.stop)] }),
    sampling: {
      ...(shape.penalised ? PENALTIES : {}),
      minTokens,
      ...(topLogprobs !== undefined && { topLogprobs }),
    },
  };
}

/** Never plans ahead: what is under way has always been taken in. */
function synchronous(rig: Rig): void {
  const { scheduler } = rig.worker.serving;
  const plan = scheduler.plan.bind(scheduler);
  scheduler.plan = (ahead) => (ahead ? undefined : plan());
}

/** The most steps that the engine had at one time. */
function countSteps(engine: FakeEngine): { most: number } {
  const step = engine.step.bind(engine);
  const counted = { most: 0 };
  let now = 0;
  engine.step = (plan) => {
    now += 1;
    counted.most = Math.max(counted.most, now);
    return step(plan).finally(() => (now -= 1));
  };
  return counted;
}

function comparable({ text, tokenIds, logprobs, finished }: Answer): object {
  return { text, tokenIds, logprobs, reason: finished?.reason };
}

async function askAll(rig: Rig, shapes: readonly Shape[]): Promise<void> {
  const router = new RouterSide(rig.client);
  const sync = await startRig({ engine: new FakeEngine(512, PROFILES), config: { maxRunning: 1 } });
  synchronous(sync);
  const expected = new RouterSide(sync.client);
  await Promise.all(
    shapes.map(async (shape, index) => {
      const generate = generateOf(toOptions(shape, index));
      router.send(generate);
      if (shape.abortMs !== null)
        setTimeout(() => {
          router.abort(generate.requestId);
        }, shape.abortMs);
      const first = await router.answer(generate.requestId);
      // the same name again, while the engine may still have a step of the first one
      const answer = shape.again ? await router.ask(generate) : first;
      const cold = await expected.ask(generate);
      for (const each of [first, answer]) {
        expect(each.error).toBeUndefined();
        if (each.finished?.reason === FinishReason.FINISH_REASON_ABORT)
          expect(each.tokenIds).toEqual(cold.tokenIds.slice(0, each.tokenIds.length));
        else expect(comparable(each)).toEqual(comparable(cold));
      }
    }),
  );
  await sync.close();
}

describe('planning ahead', () => {
  it('is not taken for the start of a request that comes under the name of one that just ended', async () => {
    const rig = await startRig({ engine: new FakeEngine(64, [], 30) });
    const router = new RouterSide(rig.client);
    const text = Array.from({ length: 40 }, (_, at) => 7 + at);
    const free = await router.ask(generateOf({ id: 'free', parts: [[9], text], maxTokens: 4 }));
    // the step behind the one that draws the stop string is under way when the answer ends
    const stopped = generateOf({ id: 'a', parts: [[9], text], stop: [free.text.slice(2, 4)] });
    const answers = [await router.ask(stopped), await router.ask(stopped)];
    expect(answers.map(({ finished }) => finished?.reason)).toEqual([1, 1]);
    expect(answers.map(({ finished }) => finished?.usage?.cachedTokens)).toEqual([40, 40]);
    await rig.close();
  });

  it('changes no token, text or log-probability, however steps last and requests end, and leaks nothing', async () => {
    let most = 0;
    const scenario = fc.record({
      shapes: fc.array(requestArbitrary, { minLength: 1, maxLength: 12, size: 'max' }),
      blocks: fc.integer({ min: 14, max: 40 }),
      maxRunning: fc.integer({ min: 1, max: 8 }),
      maxPrefillChunk: fc.integer({ min: 3, max: 48 }),
      swapPages: fc.constantFrom(0, 200),
      delays: fc.array(fc.constantFrom(0, 0, 1, 3), { minLength: 1, maxLength: 9 }),
    });
    await fc.assert(
      fc.asyncProperty(scenario, async ({ shapes, blocks, delays, ...config }) => {
        let calls = 0;
        const engine = new FakeEngine(blocks, PROFILES, () => delays[(calls += 1) % delays.length] ?? 0);
        const counted = countSteps(engine);
        const rig = await startRig({ engine, config });
        try {
          await askAll(rig, shapes);
          const { scheduler, pictures } = rig.worker.serving;
          await until(() => pictures.takenBytes === 0 && engine.images.size === pictures.cache.pictures);
          expect(scheduler.pool.freePages).toBe(scheduler.pool.capacityPages);
          expect([rig.worker.serving.running, rig.worker.serving.waiting]).toEqual([0, 0]);
        } finally {
          await rig.close();
        }
        expect(counted.most).toBeLessThanOrEqual(2);
        most = Math.max(most, counted.most);
      }),
      { numRuns: 40, seed: 11 },
    );
    expect(most).toBe(2);
  });
});
