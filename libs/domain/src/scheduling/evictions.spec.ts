import { expect, it } from 'vitest';

import { cacheDomain, rootName } from '../identity/index.js';
import { Scheduler } from './index.js';

const rootOf = (tenant: string) =>
  rootName({
    ...{ modelRevision: 'm', precision: 'f16', imageProcessor: 'p', arithmetic: 'a' },
    domain: cacheDomain(tenant, ''),
  });

const textOf = (tenant: string, from: number, tokens: number) => ({
  ...{ id: `${tenant} ${from}`, promptTokens: tokens, pictures: [] },
  content: {
    root: rootOf(tenant),
    tokenIds: Array.from({ length: tokens }, (_, at) => from + at),
    owner: { tenant, weight: 1 },
  },
});

/** Leaves so many tokens of text in the cache. */
function leave(scheduler: Scheduler, tenant: string, from: number, tokens = 32): void {
  const request = textOf(tenant, from, tokens);
  scheduler.add(request);
  const step = scheduler.plan();
  if (step) scheduler.complete(step, [7]);
  scheduler.finish(request.id);
}

/** Tokens that a longer text would find. */
function found(scheduler: Scheduler, tenant: string, from: number): number {
  const request = textOf(tenant, from, 40);
  scheduler.add(request);
  scheduler.plan();
  return scheduler.cachedTokens(request.id);
}

const schedulerOf = (blocks: number, guaranteedShare: number) =>
  new Scheduler({ blocks, maxStepTokens: 64, maxRunning: 2, guaranteedShare });

it('says what is evicted next, and evicts before that what lies elsewhere, too', () => {
  const scheduler = schedulerOf(10, 0);
  for (const from of [100, 200, 300, 400]) leave(scheduler, 't', from);
  const next = scheduler.nextEvictions(4);
  expect(next).toHaveLength(4);
  scheduler.adviseCopies([next[3]!.slice(0, 32)]);
  leave(scheduler, 't', 500);
  leave(scheduler, 't', 600);
  expect(scheduler.nextEvictions(9)).not.toContain(next[3]);
  expect(scheduler.nextEvictions(9)).toContain(next[1]);
});

it.each([
  ['goes first where it is worth least', 0, 0],
  ['stays as far as its tenant’s floor', 0.6, 4],
])('what a quiet tenant left %s', (_, guaranteedShare, tokens) => {
  const scheduler = schedulerOf(40, guaranteedShare);
  for (let from = 0; from < 1_000; from += 100) leave(scheduler, 'quiet', from, 4);
  for (let from = 0; from < 5_000; from += 100) leave(scheduler, 'busy', from);
  expect(found(scheduler, 'quiet', 0)).toBe(tokens);
});
