import { describe, expect, it } from 'vitest';
import { type CalibrateFlags, calibrateOptions } from './calibrate-flags.js';
import { rowGroups } from '@kvcapsule/evaluation/calibration';

const FLAGS: CalibrateFlags = {
  model: 'm',
  images: 'scenes:1',
  out: 'p.safetensors',
  count: '8',
  codec: 'capsule-mixed',
  ratio: '8,16',
  groups: 'tiles',
  keyTemplate: 'group',
  valueTemplate: 'all',
  basis: 'principal',
  allocation: 'picture',
  without: '',
  sensitivities: '',
  rowBits: '',
  candidates: '1.5',
  rowCost: '1',
  retention: '0.4',
  schedule: 'flat',
  statistics: '',
  threads: '0',
};

describe('calibrateOptions', () => {
  it('fits packed rows unless the codec keeps 16-bit ones', () => {
    expect(calibrateOptions(FLAGS).fit).toEqual({
      kind: 'packed',
      choices: {
        fit: {
          codec: 'capsule-mixed',
          keyTemplate: 'group',
          valueTemplate: 'all',
          basis: 'principal',
          rotate: true,
          weighRows: true,
          allocation: 'picture',
          bits: 0,
          candidates: 1.5,
          rowCost: 1,
        },
        ratios: [8, 16],
        groups: 'tiles',
        sensitivity: 'measured',
      },
    });
    expect(calibrateOptions({ ...FLAGS, codec: 'capsule', retention: '0.25,1' }).fit).toEqual({
      kind: 'rows',
      retentions: [0.25, 1],
      schedule: 'flat',
    });
  });

  it('measures what errors cost, is told, or takes all for the same', () => {
    const sensitivity = (changed: Partial<CalibrateFlags>) => calibrateOptions({ ...FLAGS, ...changed }).fit;
    expect(sensitivity({ without: 'sensitivity' })).toMatchObject({ choices: { sensitivity: 'equal' } });
    expect(sensitivity({ sensitivities: '1.6,1' })).toMatchObject({ choices: { sensitivity: [1.6, 1] } });
  });

  it('gives one number of bits to the leading rows, or to equal shares', () => {
    const fitOf = (changed: Partial<CalibrateFlags>) => calibrateOptions({ ...FLAGS, ...changed }).fit;
    expect(fitOf({ codec: 'capsule-q4' })).toMatchObject({
      choices: { fit: { allocation: 'leading', bits: 4 } },
    });
    expect(fitOf({ codec: 'capsule-q4', rowBits: '2' })).toMatchObject({ choices: { fit: { bits: 2 } } });
    expect(fitOf({ codec: 'capsule-q8', without: 'allocation,rotation' })).toMatchObject({
      choices: { fit: { allocation: 'equal', bits: 8, rotate: false } },
    });
  });

  it.each([
    ['--ratio', { ratio: '1' }],
    ['--ratio', { ratio: 'many' }],
    ['--codec', { codec: 'q8' }],
    ['--groups', { groups: 'rows' }],
    ['--key-template', { keyTemplate: 'some' }],
    ['--without', { without: 'weights,luck' }],
    ['--without allocation', { without: 'allocation' }],
    ['--sensitivities', { sensitivities: '1,0' }],
    ['--sensitivities', { sensitivities: '1,2', without: 'sensitivity' }],
    ['--row-bits', { rowBits: '2' }],
    ['--row-bits', { codec: 'capsule-q4', rowBits: '9' }],
    ['--candidates', { candidates: '0.9' }],
    ['--row-cost', { rowCost: '' }],
    ['--count', { count: '0' }],
    ['--threads', { threads: '-1' }],
    ['--schedule', { codec: 'capsule', schedule: 'steep' }],
  ])('refuses a wrong %s by name', (flag, changed) => {
    expect(() => calibrateOptions({ ...FLAGS, ...changed })).toThrow(flag);
  });
});

describe('rowGroups', () => {
  const PICTURE = [7, 5, 5, 8, 5, 5, 5, 9];

  it('are tiles of image tokens and one group of all markers', () => {
    expect([...rowGroups(PICTURE, 5, 'tiles')]).toEqual([2, 0, 0, 2, 1, 1, 1, 2]);
    expect([...rowGroups([5, 5], 5, 'tiles')]).toEqual([0, 0]);
    expect([...rowGroups(PICTURE, 5, 'whole')]).toEqual(Array(8).fill(0));
  });
});
