import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { registerCalibrate } from './calibrate.js';
import { renderReport } from './eval-report.js';
import { summarise, type Outcome } from './eval-statistics.js';
import { registerEval } from './eval.js';

const RAW: Outcome[] = [
  { kind: 'cell', correct: true, klNats: [], agreed: 0 },
  { kind: 'list', correct: false, klNats: [], agreed: 0 },
];
const CODEC = RAW.map((outcome) => ({ ...outcome, klNats: [0.5], agreed: 1 }));

describe('renderReport', () => {
  it('has a row a codec in both tables and what it takes to measure again', () => {
    const table = renderReport({
      command: 'kvcapsule eval',
      commit: 'abc',
      date: '2026-01-01',
      machine: 'some CPU',
      scenes: 1,
      seed: 2,
      artwork: 'known',
      modelRevision: 'r',
      weights: 'f32',
      kvDtype: 'f16',
      codecs: [
        { ...summarise('raw', RAW, undefined), bytesPerPicture: 100 },
        { ...summarise('thin', CODEC, RAW), bytesPerPicture: 40 },
      ],
    });
    expect(table).toContain('| raw | 100 | 50.00 % ± 35.36 | 0/1 | – | 1/1 | – | – | – | – |');
    expect(table).toContain('| thin | 0.00 | 0 | 0 | 0.50000 | 0.5000 | 1.0000 |');
    expect(table).toContain('over 2 tokens');
    expect(table).toContain('| commit | abc |');
  });
});

describe('flags', () => {
  const run = (...args: string[]) => {
    const program = new Command();
    registerCalibrate(program);
    registerEval(program);
    return program.parseAsync(args, { from: 'user' });
  };
  const model = ['--model', 'no such folder', '--out', 'out.json'];

  it.each([
    ['--schedule', 'steep'],
    ['--retention', '0'],
    ['--count', 'many'],
    ['--threads', '-1'],
  ])('calibrate refuses %s %s by name', async (flag, value) => {
    await expect(run('calibrate', ...model, '--images', 'scenes:1', flag, value)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(flag) as string,
    });
  });

  it.each([
    ['--artwork', 'mine'],
    ['--scenes', '0'],
    ['--questions', '13'],
    ['--seed', '1.5'],
  ])('eval refuses %s %s by name', async (flag, value) => {
    await expect(run('eval', ...model, flag, value)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(flag) as string,
    });
  });

  it('refuses an output that cannot be written before any work', async () => {
    const out = ['--model', '.', '--out', 'no-such-folder/out.json'];
    const refusal = { code: 'CONFIG_INVALID', message: expect.stringContaining('--out') as string };
    await expect(run('eval', ...out)).rejects.toMatchObject(refusal);
    await expect(run('calibrate', ...out, '--images', 'scenes:1')).rejects.toMatchObject(refusal);
  });

  it('names a model folder that is not there', async () => {
    await expect(run('eval', ...model)).rejects.toMatchObject({ code: 'MODEL_INVALID' });
    await expect(run('calibrate', ...model, '--images', 'scenes:1')).rejects.toMatchObject({
      code: 'MODEL_INVALID',
    });
  });
});
