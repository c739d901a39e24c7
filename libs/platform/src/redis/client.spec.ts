import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { runVerb } from './client.js';
import type { RedisClient } from './scripts.js';

// its own module keeps a timer that a test's clock does not move
vi.mock('node:timers/promises', () => ({
  setTimeout: (ms: number) => new Promise((resolve) => setTimeout(resolve, ms)),
}));

const CLOSED = new Error('Connection is closed.');

/** Runs a verb that meets these failures one after the other, the last of them for ever, unless it is `undefined`. */
function run(failures: readonly unknown[], status = 'ready') {
  let calls = 0;
  const outcome: { value?: unknown; atMs?: number } = {};
  const verb = async (): Promise<string> => {
    const failure = failures[Math.min(calls, failures.length - 1)];
    calls += 1;
    await Promise.resolve();
    if (failure !== undefined) await vi.fn().mockRejectedValue(failure)();
    return 'done';
  };
  const beganMs = performance.now();
  const settle = (value: unknown): void => {
    Object.assign(outcome, { value, atMs: performance.now() - beganMs });
  };
  runVerb({ status } as RedisClient, () => ({}), verb).then(settle, settle);
  return { outcome, calls: () => calls };
}

const unavailable = (cause: string) => ({
  ...{ code: 'LEDGER_UNAVAILABLE', retryAfterMs: 1_000 },
  cause: { message: cause },
});

describe('a verb', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is sent again while the connection is lost, until that is back', async () => {
    const { outcome, calls } = run([CLOSED, CLOSED, undefined]);
    await vi.advanceTimersByTimeAsync(500);
    expect([outcome.value, calls()]).toEqual(['done', 3]);
    expect(outcome.atMs).toBe(50);
  });

  it('gives up after a second without a connection', async () => {
    const { outcome, calls } = run([CLOSED]);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(outcome.value).toMatchObject(unavailable('Connection is closed.'));
    expect(outcome.atMs).toBeGreaterThanOrEqual(1_000);
    expect(outcome.atMs).toBeLessThan(1_100);
    expect(calls()).toBeLessThan(50);
  });

  it.each(['READONLY', 'LOADING', 'CLUSTERDOWN', 'MASTERDOWN', 'TRYAGAIN', 'MOVED'])(
    'is sent again while the store elects a master or loads: %s',
    async (word) => {
      const answer = Object.assign(new Error(`${word} and so on`), { name: 'ReplyError' });
      const { outcome, calls } = run([answer, undefined]);
      await vi.advanceTimersByTimeAsync(500);
      expect([outcome.value, calls()]).toEqual(['done', 2]);
    },
  );

  it.each([
    // an answer, and not one that another try would change
    ['an answer of Redis', Object.assign(new Error('OOM'), { name: 'ReplyError' }), 'ready', 'OOM'],
    // it may still be on its way
    ['a command without an answer', new Error('Command timed out'), 'ready', 'Command timed out'],
    ['a client that has been closed', CLOSED, 'end', 'Connection is closed.'],
    ['what is no error', 'nonsense', 'ready', 'unknown'],
  ])('is not sent again after %s', async (_name, failure, status, cause) => {
    const { outcome, calls } = run([failure, undefined], status);
    await vi.advanceTimersByTimeAsync(0);
    expect([calls(), outcome.atMs]).toEqual([1, 0]);
    expect(outcome.value).toMatchObject(unavailable(cause));
  });

  it.each([
    ["ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'", /Redis 7\.0/],
    ['NOREPLICAS Not enough good replicas to write.', /min-replicas-to-write/],
    ['MISCONF Redis is configured to save RDB snapshots', /disk/],
    ["OOM command not allowed when used memory > 'maxmemory'.", /maxmemory/],
  ])('that Redis refuses is said with what to do: %s', async (words, advice) => {
    const { outcome, calls } = run([Object.assign(new Error(words), { name: 'ReplyError' })]);
    await vi.advanceTimersByTimeAsync(0);
    expect(calls()).toBe(1);
    expect((outcome.value as Error).message).toMatch(advice);
  });

  it('tells of a failure its words alone: the command beside them may hold a password', async () => {
    const failure = Object.assign(new Error('WRONGPASS'), {
      ...{ name: 'ReplyError', command: { name: 'auth', args: ['hunter2'] } },
    });
    const { outcome } = run([failure]);
    await vi.advanceTimersByTimeAsync(0);
    expect(Object.keys((outcome.value as Error).cause as Error)).toEqual([]);
  });
});
