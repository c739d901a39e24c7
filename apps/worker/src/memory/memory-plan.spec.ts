import { describe, expect, it } from 'vitest';

import {
  checkMemoryPlan,
  defaultPoolMib,
  type MemoryDemand,
  memoryLimit,
  memoryPlan,
  plannedBytes,
  poolBlocks,
} from './memory-plan.js';

const MIB = 2 ** 20;
const demand: MemoryDemand = {
  engine: {
    ...{ weights: 40 * MIB, block: MIB / 4, profiles: 3 * MIB },
    ...{ workspace: 10 * MIB, threads: 8 * MIB, tiles: 5 * MIB },
  },
  poolBlocks: 4 * 512,
  swapBytes: 0,
  encoderCacheBytes: 128 * MIB,
};

describe('the memory plan', () => {
  it('adds up what is configured and what it takes to compute', () => {
    const plan = memoryPlan(demand);
    expect(plan).toMatchObject({ weights: 40 * MIB, pool: 512 * MIB, encoder_cache: 128 * MIB });
    expect(plannedBytes(plan)).toBe((40 + 512 + 128 + 3 + 10 + 8 + 5) * MIB + plan.runtime);
  });

  it('takes whole blocks for the pool, and at least one', () => {
    expect(poolBlocks(1, { block: MIB / 4 + 1 })).toBe(3);
    expect(() => poolBlocks(1, { block: MIB + 1 })).toThrow('--pool-mib 1 is less than one block');
  });

  it.each([
    ['512 MiB for a small model', MIB / 16, 8192, 8192, 512],
    ['a whole context of a large one', 3 * MIB, 8192, 24_000, 1536],
    ['part of it where the memory has no room for more', 3 * MIB, 8192, 1500, 350],
    ['a block at the least', 3 * MIB, 8192, 1114, 3],
    ['what is refused then where there is no room at all', 3 * MIB, 8192, 900, 1536],
  ])('has a default pool of %s', (_case, block, contextTokens, limitMib, mib) => {
    const limit = { bytes: limitMib * MIB, of: 'cgroup' } as const;
    expect(defaultPoolMib({ block }, { contextTokens, blockTokens: 16 }, 1000 * MIB, limit)).toBe(mib);
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
      refuse(total - 512 * MIB - 28 * MIB);
    }).toThrow('--swap-mib 0 --encoder-cache-mib 0 --pool-mib 100 would fit.');
    expect(() => {
      refuse(total - 512 * MIB - 128 * MIB);
    }).toThrow('Not even a small pool would fit');
    const fitting = memoryPlan({ ...demand, poolBlocks: 4 * 412 });
    checkMemoryPlan(fitting, { bytes: total - 100 * MIB, of: 'cgroup' });
  });

  it('goes by the control group where that has less than the machine', () => {
    expect(memoryLimit(1000, 0)).toEqual({ bytes: 1000, of: 'machine' });
    expect(memoryLimit(1000, 600)).toEqual({ bytes: 600, of: 'cgroup' });
    expect(memoryLimit(1000, 2 ** 63)).toEqual({ bytes: 1000, of: 'machine' });
  });
});
