import { describe, expect, it } from 'vitest';

import { checkMemoryPlan, type MemoryDemand, memoryLimit, memoryPlan, plannedBytes } from './memory-plan.js';

const MIB = 2 ** 20;
const demand: MemoryDemand = {
  size: {
    ...{ parameters: 10 * MIB, dtype: 'f32' },
    ...{ hidden: 256, intermediate: 640, vocab: 1024 },
    vision: { hidden: 192, intermediate: 768, heads: 3, patches: 16 },
  },
  weightBytes: 4,
  poolBytes: 512 * MIB,
  swapBytes: 0,
  encoderCacheBytes: 128 * MIB,
  profileBytes: 3 * MIB,
  ...{ maxStepTokens: 1024, maxRunning: 64, tiles: 8 },
};

describe('the memory plan', () => {
  it('adds up what is configured and what it takes to compute', () => {
    const plan = memoryPlan(demand);
    expect(plan).toMatchObject({ weights: 40 * MIB, pool: 512 * MIB, encoder_cache: 128 * MIB });
    // rows of a step and two sets of logits
    expect(plan.workspace).toBe((1024 * (6 * 256 + 2 * 640) + 2 * 64 * 1024) * 4);
    expect(plannedBytes(plan)).toBe(
      plan.weights + plan.pool + plan.encoder_cache + plan.profiles + plan.workspace + plan.runtime,
    );
  });

  it('bounds what large tiles take at one time by their scores', () => {
    const vision = { hidden: 768, intermediate: 3072, heads: 12, patches: 1024 };
    const one = memoryPlan({ ...demand, size: { ...demand.size, vision }, tiles: 1 });
    const many = memoryPlan({ ...demand, size: { ...demand.size, vision }, tiles: 1000 });
    expect(one.workspace).toBeLessThan(many.workspace);
    // 2 tiles of 12 x 1024 x 1024 scores are what fits in 32 Mi
    expect(many.workspace).toBe(2 * one.workspace);
  });

  it('refuses what cannot fit, with all parts and a pool that would', () => {
    const plan = memoryPlan(demand);
    const total = plannedBytes(plan);
    checkMemoryPlan(plan, { bytes: total, of: 'machine' });
    const refuse = (bytes: number) => {
      checkMemoryPlan(plan, { bytes, of: 'cgroup' });
    };
    expect(() => {
      refuse(total - 100 * MIB);
    }).toThrow(/pool 512 MiB.*the cgroup has \d+ MiB\. --pool-mib 412 would fit\./);
    expect(() => {
      refuse(200 * MIB);
    }).toThrow('Not even a small pool would fit');
    const fitting = memoryPlan({ ...demand, poolBytes: 412 * MIB });
    checkMemoryPlan(fitting, { bytes: total - 100 * MIB, of: 'cgroup' });
  });

  it('goes by the control group where that has less than the machine', () => {
    expect(memoryLimit(1000, 0)).toEqual({ bytes: 1000, of: 'machine' });
    expect(memoryLimit(1000, 600)).toEqual({ bytes: 600, of: 'cgroup' });
    expect(memoryLimit(1000, 2 ** 63)).toEqual({ bytes: 1000, of: 'machine' });
  });
});
