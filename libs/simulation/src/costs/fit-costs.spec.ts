import { describe, expect, it } from 'vitest';

import { fitCosts } from './fit-costs.js';
import { pictureMs, type StepCosts, stepMs, type StepWork } from './step-costs.js';

const COSTS: StepCosts = {
  ...{ stepMs: 0.5, prefillRowMs: 0.2, decodeRowMs: 0.3, prefillAttendedMs: 2e-4, decodeAttendedMs: 5e-4 },
  ...{ pictureMs: 12, tileMs: 1.5 },
};
const prefill = [32, 128, 512].flatMap((rows) =>
  [0, 256, 768].map((before) => ({
    ...{ prefillRows: rows, prefillAttended: rows * before + (rows * (rows + 1)) / 2 },
    ...{ decodeRows: 0, decodeAttended: 0 },
  })),
);
const decode = [1, 4, 16].flatMap((rows) =>
  [32, 256, 1024].map((before) => ({
    ...{ prefillRows: 0, prefillAttended: 0, decodeRows: rows, decodeAttended: rows * before },
  })),
);
const WORKS: readonly StepWork[] = [...prefill, ...decode];
const measured = (costs: StepCosts, noise = (_: number): number => 1) => ({
  steps: WORKS.map((work, at) => ({ work, ms: stepMs(costs, work) * noise(at) })),
  pictures: [1, 5, 17].map((tiles) => ({ tiles, ms: pictureMs(costs, tiles) })),
});

describe('fitCosts', () => {
  it('finds what steps and pictures were made of', () => {
    const { steps, pictures } = measured(COSTS);
    const found = fitCosts(steps, pictures);
    for (const [name, ms] of Object.entries(COSTS) as [keyof StepCosts, number][])
      expect(found[name] / ms, name).toBeCloseTo(1, 2);
  });

  it('is near for steps that were measured badly, and costs nothing below 0', () => {
    const { steps, pictures } = measured({ ...COSTS, prefillAttendedMs: 0 }, (at) => 1 + ((at * 7) % 5) / 20);
    const found = fitCosts(steps, pictures);
    for (const ms of Object.values(found)) expect(ms).toBeGreaterThanOrEqual(0);
    for (const { work, ms } of steps) expect(Math.abs(stepMs(found, work) / ms - 1)).toBeLessThan(0.2);
  });
});
