import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { argmax, klNats, summarise, type Outcome } from './eval-statistics.js';

const logits = fc.float32Array({ minLength: 5, maxLength: 5, min: -40, max: 40, noNaN: true });
const outcome = (correct: boolean, kl: number[], agreed: number): Outcome => ({
  kind: 'cell',
  correct,
  klNats: kl,
  agreed,
});

describe('klNats', () => {
  it('is what the definition gives', () => {
    const [p, q] = [
      [0.5, 0.25, 0.25],
      [0.25, 0.25, 0.5],
    ];
    const expected = 0.5 * Math.log(2) + 0.25 * Math.log(0.5);
    expect(klNats(Float32Array.from(p, Math.log), Float32Array.from(q, Math.log))).toBeCloseTo(expected, 6);
  });

  it('is nought for the same distribution, whatever is added to its logits, and never negative', () => {
    fc.assert(
      fc.property(logits, logits, fc.integer({ min: -8, max: 8 }), (p, q, shift) => {
        expect(klNats(p, q)).toBeGreaterThanOrEqual(0);
        expect(
          klNats(
            p,
            p.map((value) => value + shift),
          ),
        ).toBeLessThan(1e-4);
      }),
      { seed: 3 },
    );
  });
});

describe('argmax', () => {
  it('takes the first of equals', () => {
    expect(argmax(Float32Array.of(1, 3, 3, 2))).toBe(1);
  });
});

describe('summarise', () => {
  it('pairs a codec with raw on the same questions', () => {
    const raw = [outcome(true, [], 0), outcome(true, [], 0), outcome(false, [], 0), outcome(false, [], 0)];
    const other = [
      outcome(true, [0.1, 0], 2),
      outcome(false, [0.5], 0),
      outcome(true, [0], 1),
      outcome(false, [0], 1),
    ];
    const summary = summarise('capsule', other, raw);
    expect(summary).toMatchObject({ questions: 4, correct: 2, accuracy: 0.5, standardError: 0.25 });
    expect(summary.byKind).toEqual({ cell: { correct: 2, questions: 4 } });
    expect(summary.againstRaw).toMatchObject({ dropPoints: 0, lost: 1, won: 1, answerTokens: 5 });
    expect(summary.againstRaw?.klMeanNats).toBeCloseTo(0.12, 9);
    expect(summary.againstRaw?.klP99Nats).toBe(0.5);
    expect(summary.againstRaw?.top1Agreement).toBeCloseTo(0.8, 9);
    expect(summarise('raw', raw, undefined).againstRaw).toBeUndefined();
  });
});
