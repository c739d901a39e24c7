import { Command } from 'commander';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DEFAULT_MODEL_DIR } from '../paths.js';
import { type SimulateOptions, simulateOptions } from './options.js';

function parse(...args: string[]): SimulateOptions {
  return simulateOptions(
    new Command('simulate').exitOverride().configureOutput({ writeErr: () => undefined }),
  )
    .parse(args, { from: 'user' })
    .opts<SimulateOptions>();
}

describe('the options of simulate', () => {
  it('are ten workers of the demo model as it was measured, unless told otherwise', () => {
    expect(parse()).toMatchObject({ workers: 10, speedup: 1, model: DEFAULT_MODEL_DIR, poolMib: 64 });
    expect(parse('-w', '1000', '--speedup', '2.5', '--model', 'a')).toMatchObject({
      ...{ workers: 1000, speedup: 2.5, model: resolve('a') },
    });
  });

  it.each([
    ['--workers', '0'],
    ['--workers', '2.5'],
    ['--workers', '-1'],
    ['--speedup', '0'],
    ['--speedup', 'fast'],
    ['--speedup', '1e999'],
    ['--pool-mib', '0'],
    ['--answer-tokens', '0'],
  ])('refuse %s %s', (flag, value) => {
    expect(() => parse(flag, value)).toThrow(flag);
  });
});
