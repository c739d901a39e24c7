import { KvcError } from '@kvcapsule/contracts/errors';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';

import { CoreDriver, requestOf } from '../testing/core-driver.js';

// The whole check may run on two busy cores.
vi.setConfig({ testTimeout: 120_000 });

const lease = (leaseId: string) => ({ lease: { leaseId, epoch: 1n, pages: 8 } });
const kinds = (driver: CoreDriver, key: string) => (driver.events.get(key) ?? []).map(({ kind }) => kind);

function expectNothingLeft({ serving, leases, engine }: CoreDriver): void {
  const { scheduler, pictures } = serving;
  expect(scheduler.pool.freePages).toBe(scheduler.pool.capacityPages);
  expect([serving.running, serving.waiting, pictures.takenBytes, leases.size]).toEqual([0, 0, 0, 0]);
  expect(engine.images.size).toBe(pictures.cache.pictures);
}

/** One of a few prompts, pictures and fates. */
const requestArbitrary = fc.record({
  text: fc.integer({ min: 1, max: 40 }),
  picture: fc.option(fc.record({ tokens: fc.constantFrom(20, 33), mark: fc.nat(2) }), { nil: undefined }),
  leased: fc.boolean(),
  maxTokens: fc.integer({ min: 1, max: 30 }),
});

/** What happens next: an answer that is owed, a plan, a new request, an abort, time that passes. */
const happening = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('answer'), which: fc.nat(9) }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('plan'), which: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('submit'), which: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('abort'), which: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('expire'), which: fc.nat(9) }) },
);

describe('a core', () => {
  it('ends every request once and keeps nothing, whatever answers come in which order', async () => {
    let most = 0;
    const scenario = fc.record({
      requests: fc.array(requestArbitrary, { minLength: 1, maxLength: 10 }),
      happenings: fc.array(happening, { maxLength: 200, size: 'max' }),
      failEvery: fc.constantFrom(0, 7, 13),
      blocks: fc.integer({ min: 12, max: 30 }),
      swapPages: fc.constantFrom(0, 100),
    });
    await fc.assert(
      fc.asyncProperty(scenario, async ({ requests, happenings, failEvery, blocks, swapPages }) => {
        const fails = (count: number): boolean => failEvery > 0 && count % failEvery === 0;
        const driver = new CoreDriver({ blocks, fails, config: { swapPages } });
        const { serving } = driver;
        let submitted = 0;
        const submit = (): void => {
          const shape = requests[submitted % requests.length];
          if (!shape) return;
          const key = `r${submitted}`;
          const text = Array.from({ length: shape.text }, (_, at) => 8 + ((at * 7 + submitted) % 50));
          const request = requestOf(
            key,
            [text.slice(0, 3), ...(shape.picture ? [shape.picture] : []), text],
            {
              maxTokens: shape.maxTokens,
              remainingMs: submitted % 5 === 4 ? 5 : undefined,
              ...(shape.leased && lease(key)),
            },
          );
          submitted += 1;
          driver.submit(key, request, driver.nowMs);
        };
        submit();
        for (const { kind, which } of happenings) {
          if (kind === 'answer' && driver.owed > 0) await driver.answer(which);
          if (kind === 'plan') driver.take(serving.plan(driver.nowMs));
          if (kind === 'submit' && submitted < 20) submit();
          if (kind === 'abort') driver.take(serving.abort(`r${which}`));
          if (kind !== 'expire') continue;
          driver.nowMs += 1;
          driver.take(serving.expire(driver.nowMs));
        }
        await driver.settle();
        for (let index = 0; index < submitted; index += 1) {
          const told = kinds(driver, `r${index}`);
          const [last] = told.slice(-1);
          expect(['finished', 'failed']).toContain(last);
          expect(told.filter((kind) => kind === 'finished' || kind === 'failed')).toHaveLength(1);
          const deltas = told.indexOf('delta');
          if (deltas >= 0) expect(told.indexOf('started')).toBeLessThan(deltas);
        }
        if (serving.state === 'ready') expectNothingLeft(driver);
        expect(driver.mostSteps).toBeLessThanOrEqual(2);
        most = Math.max(most, driver.mostSteps);
      }),
      { numRuns: 60, seed: 17 },
    );
    expect(most).toBe(2);
  });

  it('ends what is overdue, wherever it is, and nothing else', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    driver.submit('a', requestOf('a', [[10]], { remainingMs: 50, maxTokens: 500 }), 0);
    driver.submit('b', requestOf('b', [[11]], { remainingMs: 80, maxTokens: 3 }), 10);
    expect(driver.wakeAtMs).toBe(50);
    driver.take(serving.plan(20));
    driver.take(serving.expire(50));
    expect(driver.events.get('a')?.at(-1)).toMatchObject({ kind: 'failed', code: 'DEADLINE_EXCEEDED' });
    expect(driver.wakeAtMs).toBe(90);
    await driver.settle();
    expect(kinds(driver, 'b').at(-1)).toBe('finished');
    expectNothingLeft(driver);
  });

  it('drains: refuses what comes, lets the rest end, and aborts it at the end of the time', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    driver.submit('a', requestOf('a', [[10]], { maxTokens: 500 }), 0);
    driver.take(serving.drain('long', 1000));
    driver.submit('late', requestOf('late', [[10]], lease('x')), 1);
    expect(driver.events.get('late')).toMatchObject([{ kind: 'failed', code: 'DRAINING' }]);
    driver.take(serving.plan(1));
    driver.take(serving.drain('short', 20));
    expect(driver.wakeAtMs).toBe(20);
    driver.take(serving.expire(20));
    expect([...driver.drained].sort()).toEqual([
      ['long', 0],
      ['short', 1],
    ]);
    expect(driver.events.get('a')?.at(-1)).toMatchObject({ kind: 'finished', reason: 'abort' });
    driver.take(serving.drain('again', 2000));
    expect([driver.drained.get('again'), serving.state]).toEqual([0, 'draining']);
    await driver.settle();
    expectNothingLeft(driver);
  });

  it('fails everything when it is replaced, and takes nothing more', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    for (const key of ['a', 'b']) driver.submit(key, requestOf(key, [[10]], lease(key)), 0);
    driver.take(serving.fail(new KvcError('STALE_EPOCH', 'replaced')));
    for (const key of ['a', 'b'])
      expect(driver.events.get(key)).toMatchObject([{ kind: 'failed', code: 'STALE_EPOCH' }]);
    driver.submit('c', requestOf('c', [[10]]), 0);
    expect(driver.events.get('c')).toMatchObject([{ kind: 'failed', code: 'NO_WORKER' }]);
    await driver.settle();
    expectNothingLeft(driver);
  });

  it('takes a key again when its request has ended, and not before', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    const request = requestOf('a', [[10]], lease('a'));
    driver.submit('a', request, 0);
    expect(() => serving.submit('a', request, 0)).toThrow(/key/);
    driver.take(serving.abort('a'));
    // the ledger has not answered the first one's lease yet
    driver.submit('a', request, 0);
    await driver.settle();
    expect(kinds(driver, 'a').filter((kind) => kind === 'finished')).toHaveLength(2);
    const last = driver.events.get('a')?.at(-1);
    expect(['stop', 'length']).toContain(last?.kind === 'finished' ? last.reason : undefined);
    expectNothingLeft(driver);
  });

  it('says how far it is with prompts, and counts what the engine has done', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    const text = Array.from({ length: 70 }, () => 10);
    driver.submit('a', requestOf('a', [text]), 0);
    driver.take(serving.plan(0));
    expect(serving.progress(['a', 'none'])).toEqual({ steps: 0, prefills: [] });
    await driver.answer(0);
    expect(serving.progress(['a'])).toEqual({
      steps: 1,
      prefills: [{ requestId: 'a', computedTokens: 40, promptTokens: 70 }],
    });
    await driver.settle();
    expect(serving.progress(['a']).prefills).toEqual([]);
  });
});
