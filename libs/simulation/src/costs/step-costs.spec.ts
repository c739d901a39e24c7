import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { pictureMs, type StepCosts, stepMs, stepWork } from './step-costs.js';

const ms = fc.double({ min: 0, max: 10, noNaN: true });
const costs: fc.Arbitrary<StepCosts> = fc.record({
  ...{ stepMs: ms, prefillRowMs: ms, decodeRowMs: ms, prefillAttendedMs: ms, decodeAttendedMs: ms },
  ...{ pictureMs: ms, tileMs: ms },
});
/** Rows of one sequence and what it holds before them. */
const chunk = fc.record({ before: fc.nat(500), rows: fc.integer({ min: 1, max: 40 }) });
type Chunk = typeof chunk extends fc.Arbitrary<infer T> ? T : never;

function planOf(chunks: readonly Chunk[]): Parameters<typeof stepWork>[0] {
  return {
    chunks: Int32Array.from(chunks.flatMap(({ rows }, slot) => [slot, 0, rows])),
    positions: Int32Array.from(
      chunks.flatMap(({ before, rows }) => Array.from({ length: rows }, (_, row) => before + row)),
    ),
  };
}
const msOf = (model: StepCosts, chunks: readonly Chunk[]): number => stepMs(model, stepWork(planOf(chunks)));

describe('a step', () => {
  it('is made of rows alone and in chunks, and of what they attend to', () => {
    const plan = planOf([
      { before: 9, rows: 1 },
      { before: 4, rows: 3 },
      { before: 0, rows: 1 },
    ]);
    expect(stepWork(plan)).toEqual({
      ...{ decodeRows: 2, decodeAttended: 10 + 1, prefillRows: 3, prefillAttended: 5 + 6 + 7 },
    });
  });

  it('costs the sum of its parts', () => {
    const model = {
      ...{ stepMs: 100, prefillRowMs: 10, decodeRowMs: 20, prefillAttendedMs: 1, decodeAttendedMs: 2 },
      ...{ pictureMs: 7, tileMs: 3 },
    };
    const chunks = [
      { before: 9, rows: 1 },
      { before: 4, rows: 3 },
    ];
    expect(msOf(model, chunks)).toBe(100 + 20 + 2 * 10 + 3 * 10 + (5 + 6 + 7));
    expect(msOf(model, [])).toBe(0);
    expect(pictureMs(model, 5)).toBe(7 + 15);
  });

  it('never takes less time for more rows, longer sequences or more sequences', () => {
    fc.assert(
      fc.property(costs, fc.array(chunk, { minLength: 1, maxLength: 8 }), chunk, (model, chunks, other) => {
        const least = msOf(model, chunks);
        const slack = 1e-9 * (1 + least);
        expect(msOf(model, [...chunks, other])).toBeGreaterThanOrEqual(least - slack);
        const longer = chunks.map(({ before, rows }) => ({ before: before + other.before, rows }));
        expect(msOf(model, longer)).toBeGreaterThanOrEqual(least - slack);
        const wider = chunks.map(({ before, rows }) => ({
          before,
          rows: rows === 1 ? 1 : rows + other.rows,
        }));
        expect(msOf(model, wider)).toBeGreaterThanOrEqual(least - slack);
      }),
      { seed: 3 },
    );
  });
});
