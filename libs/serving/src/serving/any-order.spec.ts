import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';

import { CoreDriver, expectNothingLeft, kindsOf, lease, requestOf } from '../testing/core-driver.js';

// The whole check may run on two busy cores.
vi.setConfig({ testTimeout: 120_000 });

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
          const told = kindsOf(driver, `r${index}`);
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
});
