import { KvcError } from '@kvcapsule/contracts/errors';
import { FAKE_END } from '@kvcapsule/testing/engine';
import { describe, expect, it } from 'vitest';

import type { RequestEvent } from '../serving/effects.js';
import { CoreDriver, type DriverOptions, forced, requestOf } from '../testing/core-driver.js';

type Parts = Parameters<typeof requestOf>[1];
type More = Parameters<typeof requestOf>[2];

/** What a request is told by a core that has nothing else to do. */
async function answer(parts: Parts, more: More, driver = new CoreDriver({ blocks: 30 })) {
  driver.submit('r', requestOf('r', parts, more), 0);
  await driver.settle();
  return { driver, events: driver.events.get('r') ?? [] };
}

const tokensOf = (events: readonly RequestEvent[]): number[] =>
  events.flatMap((event) => (event.kind === 'delta' ? event.tokenIds : []));
const textOf = (events: readonly RequestEvent[]): string =>
  events.map((event) => (event.kind === 'delta' || event.kind === 'finished' ? event.text : '')).join('');
const text = (tokens: number): number[] => Array.from({ length: tokens }, (_, at) => 8 + (at % 40));

describe('an answer', () => {
  it('is told token by token, and how it ended', async () => {
    const { events } = await answer([[10, 11]], { maxTokens: 3, sampling: forced(9) });
    const delta = { kind: 'delta', text: '9 ', tokenIds: [9], logprobs: [] };
    expect(events).toEqual([
      { kind: 'started', promptTokens: 2, cachedTokens: 0 },
      ...[delta, delta, delta],
      {
        ...{ kind: 'finished', reason: 'length', text: '' },
        usage: expect.objectContaining({ promptTokens: 2, completionTokens: 3, cachedTokens: 0 }) as object,
      },
    ]);
  });

  it('ends with an end token, which is counted and has no text', async () => {
    const { events } = await answer([[10]], { sampling: forced(FAKE_END) });
    expect(events.slice(1, -1)).toEqual([{ kind: 'delta', text: '', tokenIds: [FAKE_END], logprobs: [] }]);
    expect(textOf(events)).toBe('');
    expect(events.at(-1)).toMatchObject({ reason: 'stop', usage: { completionTokens: 1 } });
  });

  it('goes on past end tokens that it ignores', async () => {
    const sampling = forced(FAKE_END, { ignoreEos: true });
    const { events } = await answer([[10]], { maxTokens: 4, sampling });
    expect([tokensOf(events), textOf(events)]).toEqual([[2, 2, 2, 2], '2 2 2 2 ']);
    expect(events.at(-1)).toMatchObject({ reason: 'length' });
  });

  it('ends before a stop string, with nothing of it in its text', async () => {
    // a cut character at the end is no part of the answer either
    const createDetokenizer = () => ({
      ...{ pending: false, bytesOf: () => undefined, spell: String, flush: () => '?' },
      push: (token: number) => `${token} `,
    });
    const driver = new CoreDriver({ blocks: 30, config: { createDetokenizer } });
    const { events } = await answer([[10]], { sampling: forced(9), stop: [' 9 9'] }, driver);
    expect([tokensOf(events), textOf(events)]).toEqual([[9, 9, 9], '9']);
    expect(events.at(-1)).toMatchObject({ reason: 'stop', text: '' });
  });

  it('has the text that was held back for a stop string, when that does not come', async () => {
    const { events } = await answer([[10]], { maxTokens: 2, sampling: forced(9), stop: ['9 9 8'] });
    expect(events.at(-1)).toMatchObject({ reason: 'length', text: '9 9 ' });
  });

  it('ends by a stop string, not by its length, where its last characters complete one', async () => {
    const createDetokenizer = () => ({
      ...{ pending: false, bytesOf: () => undefined, spell: String, push: () => 'a' },
      flush: () => 'b',
    });
    const driver = new CoreDriver({ blocks: 30, config: { createDetokenizer } });
    const { events } = await answer([[10]], { maxTokens: 2, sampling: forced(9), stop: ['ab'] }, driver);
    expect(events.at(-1)).toMatchObject({ kind: 'finished', reason: 'stop' });
    expect(textOf(events)).toBe('a');
  });

  it('tells what of its prompt was cached, and leaves pictures there alone', async () => {
    const parts = [text(20), { tokens: 33, mark: 1 }, [10]];
    const { driver } = await answer(parts, {});
    driver.submit('again', requestOf('again', parts), 0);
    await driver.settle();
    expect(driver.events.get('again')?.[0]).toEqual({
      ...{ kind: 'started', promptTokens: 56, cachedTokens: 55 },
    });
    expect(driver.events.get('again')?.at(-1)).toMatchObject({ usage: { cachedTokens: 55 } });
    expect([driver.engine.encoded, driver.serving.pictures.takenBytes]).toEqual([1, 0]);
  });

  it('is cut where the pool has no room for more of it, and says so', async () => {
    const { driver, events } = await answer(
      [[10]],
      { maxTokens: 400, sampling: forced(9) },
      new CoreDriver({ blocks: 3 }),
    );
    expect(events.at(-1)).toMatchObject({ kind: 'finished', reason: 'length', poolExhausted: true });
    expect(tokensOf(events).length).toBeGreaterThan(3 * 8);
    expect(tokensOf(events).length).toBeLessThan(400);
    expect(driver.reports).toContainEqual({
      ...{ kind: 'poolExhausted', key: 'r', ids: { requestId: 'r', clientRequestId: undefined } },
    });
  });
});

describe('features', () => {
  it('are let go as soon as the last row of their picture is computed, and not before', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    // the picture's 33 tokens and its two markers end at 65; a step has 40 rows at most
    driver.submit('r', requestOf('r', [text(30), { tokens: 33, mark: 1 }, text(30)]), 0);
    const { serving } = driver;
    /** Rows that are computed, and bytes of features in use. */
    const seen: number[][] = [];
    await driver.until(() => {
      for (const { computedTokens, imageTokens } of serving.progress(['r'], () => 0).prefills)
        if (imageTokens === 0 && seen.at(-1)?.[0] !== computedTokens)
          seen.push([computedTokens, serving.pictures.takenBytes]);
      return driver.events.get('r')?.some(({ kind }) => kind === 'delta') ?? false;
    });
    expect(seen).toEqual([
      [40, 33 * 4],
      [80, 0],
    ]);
  });
});

describe('features of a request whose prefix has been cached meanwhile', () => {
  it('are let go when it begins', async () => {
    const driver = new CoreDriver({ blocks: 30, config: { maxRunning: 1 } });
    const { serving } = driver;
    const parts = [{ tokens: 20, mark: 1 }, [10]];
    const begins = (key: string) => driver.events.get(key)?.some(({ kind }) => kind === 'started') ?? false;
    driver.submit('first', requestOf('first', parts, { maxTokens: 3, sampling: forced(9) }), 0);
    driver.submit('then', requestOf('then', parts, { maxTokens: 50, sampling: forced(9) }), 0);
    await driver.until(() => begins('then'));
    // the picture ends where the cached prefix does
    expect(driver.events.get('then')?.[0]).toMatchObject({ promptTokens: 23, cachedTokens: 22 });
    expect([serving.running, serving.pictures.takenBytes]).toEqual([1, 0]);
  });
});

describe('a request that ends while its step is under way', () => {
  it.each(['landed', 'failed'] as const)('is told nothing more when that has %s', async (how) => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    driver.submit('r', requestOf('r', [[10]], { maxTokens: 500, sampling: forced(9) }), 0);
    driver.take(serving.plan(0));
    driver.take(serving.abort('r'));
    if (how === 'landed') await driver.answer(0);
    else {
      driver.take(serving.stepFailed(1, new Error('broken')));
      driver.take(serving.slotsClosed());
    }
    expect(driver.events.get('r')?.map(({ kind }) => kind)).toEqual(['finished']);
    expect(driver.events.get('r')).toMatchObject([{ reason: 'abort', usage: { completionTokens: 0 } }]);
  });
});

describe('a step that fails', () => {
  const failing = (options: Partial<DriverOptions> = {}) => {
    const driver = new CoreDriver({ blocks: 30, ...options });
    driver.submit('r', requestOf('r', [[10]], { maxTokens: 500, sampling: forced(9) }), 0);
    driver.take(driver.serving.plan(0));
    return driver;
  };
  const failStep = (driver: CoreDriver, error: unknown): void => {
    driver.take(driver.serving.stepFailed(1, error));
    driver.take(driver.serving.slotsClosed());
  };

  it('ends its requests with the engine’s failure, and reports what caused it', () => {
    const driver = failing();
    const cause = new Error('out of luck');
    failStep(driver, cause);
    expect(driver.events.get('r')?.at(-1)).toMatchObject({ kind: 'failed', code: 'ENGINE_FAILED' });
    expect(driver.reports).toContainEqual({ kind: 'stepsFailed', steps: [1], error: cause });
    expect(driver.reports.at(-1)).toMatchObject({ kind: 'requestFailed', code: 'ENGINE_FAILED' });
    expect([driver.serving.state, driver.serving.running, driver.serving.waiting]).toEqual(['ready', 0, 0]);
  });

  it('ends them with the error itself where that has a code', () => {
    const driver = failing();
    failStep(driver, new KvcError('KV_CAPACITY_EXCEEDED', 'no room'));
    expect(driver.events.get('r')?.at(-1)).toMatchObject({
      code: 'KV_CAPACITY_EXCEEDED',
      message: 'no room',
    });
  });

  it('is followed by no more of them than the engine may have in a row', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    driver.engine.failNext = 5;
    for (const key of ['a', 'b', 'c', 'd', 'e', 'f']) {
      driver.submit(key, requestOf(key, [[10]]), 0);
      await driver.settle();
    }
    const codes = ['a', 'e', 'f'].map((key) => driver.events.get(key)?.at(-1));
    expect(codes).toMatchObject([
      { code: 'ENGINE_FAILED' },
      { code: 'ENGINE_FAILED' },
      { code: 'NO_WORKER' },
    ]);
    expect(driver.reports.map(({ kind }) => kind)).toContain('engineLost');
    expect(driver.serving.state).toBe('failed');
  });
});
