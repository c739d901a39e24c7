import { describe, expect, it } from 'vitest';

import { type AttemptFailure, Attempts } from './attempts.js';

function after(...failures: readonly [AttemptFailure, boolean][]): Attempts {
  const attempts = new Attempts();
  for (const [how, progressed] of failures) attempts.failed(how, progressed);
  return attempts;
}

describe('Attempts', () => {
  it('end with the third worker in a row that breaks without a token', () => {
    expect(after(['broken', false], ['broken', false]).exhausted).toBe(false);
    expect(after(['broken', false], ['broken', false], ['broken', false]).exhausted).toBe(true);
  });

  it('begin anew with each token of the answer', () => {
    const far = Array.from({ length: 20 }, () => ['broken', true] as [AttemptFailure, boolean]);
    expect(after(...far)).toMatchObject({ broken: 1, exhausted: false });
    expect(after(...far, ['broken', false], ['broken', false]).exhausted).toBe(true);
  });

  it('go on past any number of workers that refuse', () => {
    const refusals = Array.from({ length: 20 }, () => ['refused', false] as [AttemptFailure, boolean]);
    expect(after(...refusals)).toMatchObject({ broken: 0, exhausted: false });
    expect(after(['broken', false], ...refusals, ['broken', false]).broken).toBe(2);
  });

  it('do not count processes that were lost and answer again', () => {
    const attempts = after(['broken', false]);
    for (const process of ['w0@1', 'w1@1', 'w1@1']) {
      attempts.survived((lost) => lost === 'w1@1');
      attempts.failed('broken', false, process);
    }
    expect(attempts).toMatchObject({ broken: 3, exhausted: true });
    attempts.survived((lost) => lost === 'w0@1');
    expect(attempts.broken).toBe(2);
  });

  it('wait longer with each attempt in vain but the first, and no two of them equally long', () => {
    const waits = [0, 1, 2, 3].map((breaks) => {
      const attempts = after(
        ...Array.from({ length: breaks }, () => ['broken', false] as [AttemptFailure, boolean]),
      );
      return [0, 0.999].map((random) => Math.round(attempts.backoffMs(random)));
    });
    expect(waits).toEqual([
      [0, 0],
      [0, 0],
      [25, 50],
      [50, 100],
    ]);
    const many = after(...Array.from({ length: 40 }, () => ['broken', false] as [AttemptFailure, boolean]));
    expect(many.backoffMs(0.5)).toBe(750);
    expect(after(['refused', false], ['refused', false]).backoffMs(0)).toBe(25);
    expect(after(['refused', false], ['broken', true]).backoffMs(0)).toBe(0);
  });
});
