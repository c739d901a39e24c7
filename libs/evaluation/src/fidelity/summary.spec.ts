import { describe, expect, it } from 'vitest';
import type { SceneRecord } from './journal.js';
import { pairUp, summarise } from './summary.js';

const outcome = (correct: boolean, klNats: number[], agreed: number) => ({
  kind: 'cell' as const,
  correct,
  klNats,
  agreed,
});
const record = (scene: number, outcomes: SceneRecord['outcomes']): SceneRecord => ({
  entry: 'e',
  suite: 'questions',
  scene,
  outcomes,
});

const RAW = [
  record(0, [outcome(true, [], 0), outcome(true, [], 0)]),
  record(1, [outcome(false, [], 0), outcome(false, [], 0)]),
];
const OTHER = [
  record(1, [outcome(true, [0], 1), outcome(false, [0], 1)]),
  record(0, [outcome(true, [0.1, 0], 2), outcome(false, [0.5], 0)]),
];

describe('summarise', () => {
  it('pairs an entry with raw on the same questions, whatever the order of the records', () => {
    const summary = summarise(pairUp(OTHER, RAW), false);
    expect(summary).toMatchObject({
      questions: 4,
      correct: 2,
      byKind: { cell: { correct: 2, questions: 4 } },
    });
    expect(summary.accuracy.value).toBe(0.5);
    expect(summary.againstRaw).toMatchObject({ lost: 1, won: 1, answerTokens: 5, klP99: 0.5 });
    expect(summary.againstRaw?.differencePoints.value).toBe(0);
    // One scene lost a question of two and the other won one: resampling sees both extremes.
    expect(summary.againstRaw?.differencePoints).toMatchObject({ low: -50, high: 50 });
    expect(summary.againstRaw?.klMean.value).toBeCloseTo(0.12, 9);
    expect(summary.againstRaw?.top1Agreement.value).toBeCloseTo(0.8, 9);
  });

  it('leaves out what raw has not answered, and compares raw with nothing', () => {
    expect(pairUp([record(7, [outcome(true, [], 0)])], RAW)).toEqual([]);
    expect(summarise(pairUp(RAW, RAW), true).againstRaw).toBeUndefined();
  });
});
