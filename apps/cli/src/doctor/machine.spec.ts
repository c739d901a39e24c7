import { describe, expect, it } from 'vitest';
import { type MachineFacts, machineFindings } from './machine.js';

const GIB = 2 ** 30;
const GOOD: MachineFacts = {
  ...{ processor: 'Some CPU', cores: 8, usableCores: 8 },
  features: new Set(['sse4_2', 'popcnt', 'pclmulqdq', 'aes', 'avx2']),
  ...{ memoryBytes: 16 * GIB, freeBytes: 12 * GIB, groupBytes: 0, hugePages: 'madvise' },
  ...{ devices: ['null', 'sda'], diskFreeBytes: 50 * GIB, isBuilt: true, nodeVersion: '24.19.0' },
};

const levels = (facts: Partial<MachineFacts>) =>
  machineFindings({ ...GOOD, ...facts })
    .filter(({ level }) => level !== 'ok')
    .map(({ name, level }) => `${name}: ${level}`);

describe('what is found of the machine', () => {
  it('is all well on a usual one', () => {
    expect(levels({})).toEqual([]);
  });

  it.each<[Partial<MachineFacts>, string]>([
    [{ usableCores: 1 }, 'processor: warn'],
    [{ features: new Set(['sse4_2', 'popcnt', 'aes', 'avx2']) }, 'instructions: fail'],
    [{ features: new Set(['sse4_2', 'popcnt', 'pclmulqdq', 'aes']) }, 'instructions: warn'],
    [{ freeBytes: GIB }, 'memory: warn'],
    [{ groupBytes: GIB }, 'memory: warn'],
    [{ hugePages: 'never' }, 'huge pages: warn'],
    [{ hugePages: undefined }, 'huge pages: warn'],
    [{ devices: ['nvidia0', 'nvidiactl'] }, 'GPU: warn'],
    [{ diskFreeBytes: 0.1 * GIB }, 'disk: warn'],
    [{ diskFreeBytes: 2 * GIB, isBuilt: false }, 'disk: warn'],
    [{ nodeVersion: '24.14.9' }, 'Node: fail'],
    [{ nodeVersion: '25.1.0' }, 'Node: fail'],
  ])('%o is told as %s, with what to do', (facts, expected) => {
    expect(levels(facts)).toEqual([expected]);
    const found = machineFindings({ ...GOOD, ...facts }).find(({ level }) => level !== 'ok');
    expect(found?.advice).toMatch(/\w/);
  });

  it('says that a GPU is there and the CPU serves', () => {
    const gpu = machineFindings({ ...GOOD, devices: ['nvidia0'] }).find(({ name }) => name === 'GPU');
    expect(gpu?.found).toBe('nvidia0; it is not used, the CPU serves');
  });
});
