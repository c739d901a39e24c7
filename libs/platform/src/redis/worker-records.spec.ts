import type { WorkerDescriptor } from '@kvcapsule/domain/registry';
import { describe, expect, it, vi } from 'vitest';
import { descriptorJson, descriptorSchema, WorkerRecords } from './worker-records.js';

const descriptor: WorkerDescriptor = {
  workerId: 'w1',
  address: '127.0.0.1:1',
  modelId: 'm',
  modelRevision: 'r',
  ...{ processorRevision: 'p', arithmetic: 'cpu-avx2-1', precision: 'f16/f16', imageProcessor: 'i' },
  contextTokens: 64,
  blockTokens: 16,
  pagesPerBlock: 8,
  pageBytes: 1_024,
  capacityPages: 160,
  codec: 'raw',
  profileId: '',
  codecs: ['raw'],
  formats: [],
};
const load = { state: 'ready', running: 0, waiting: 0, freePages: 160 } as const;
const loadOf = (running: number) => JSON.stringify({ ...load, running });

describe('records of workers', () => {
  it('hold formats with the very rows that markers stand in', () => {
    const format = {
      codec: 'capsule-mixed',
      profileId: 'p',
      tokens: 42,
      pages: 3,
      headerBytes: 64,
      bytesPerToken: 0,
    };
    const worker = { ...descriptor, formats: [{ ...format, markerRows: [0, 1, 41] }] };
    const json = descriptorJson(worker);
    expect(json).toContain('"markerRows":[0,2,39,1]');
    const records = new WorkerRecords();
    records.learn('w1', '7', json);
    expect(records.record('w1', loadOf(0))).toEqual({ ...worker, epoch: 7, load });
    records.learn('w1', '8', json.replace('[0,2,39,1]', '[9e9,1]'));
    expect(records.record('w1', loadOf(0))).toBeUndefined();
  });

  it('parse a descriptor once an epoch, and a load when it changes', () => {
    const records = new WorkerRecords();
    const parse = vi.spyOn(descriptorSchema, 'parse');
    expect(records.knows('w1', '7')).toBe(false);
    records.learn('w1', '7', JSON.stringify(descriptor));
    const first = records.record('w1', loadOf(0));
    expect(first).toEqual({ ...descriptor, epoch: 7, load });
    expect(records.knows('w1', '7')).toBe(true);
    expect(records.record('w1', loadOf(0))).toBe(first);
    expect(records.record('w1', loadOf(2))?.load.running).toBe(2);
    expect(parse).toHaveBeenCalledTimes(1);
    expect(records.knows('w1', '8')).toBe(false);
    records.learn('w1', '8', JSON.stringify({ ...descriptor, capacityPages: 8 }));
    expect(records.record('w1', loadOf(0))).toMatchObject({ epoch: 8, capacityPages: 8 });
    parse.mockRestore();
  });

  it.each([
    ['no JSON', '{'],
    ['a field of another type', JSON.stringify({ ...descriptor, capacityPages: 'many' })],
    ['a field that is missing', JSON.stringify({ ...descriptor, codecs: undefined })],
  ])('leave out a descriptor with %s, and ask for it once only', (_name, json) => {
    const records = new WorkerRecords();
    records.learn('w1', '7', json);
    expect(records.record('w1', loadOf(0))).toBeUndefined();
    expect(records.knows('w1', '7')).toBe(true);
  });

  it('leave out a worker while its load cannot be read', () => {
    const records = new WorkerRecords();
    records.learn('w1', '7', JSON.stringify(descriptor));
    expect(records.record('w1', '{"state":"asleep"}')).toBeUndefined();
    expect(records.record('w1', loadOf(1))).toMatchObject({ load: { running: 1 } });
  });

  it('are not written where nobody could read them', () => {
    expect(() => descriptorJson({ ...descriptor, capacityPages: -1 })).toThrow('capacityPages');
  });

  it('forget workers that have gone', () => {
    const records = new WorkerRecords();
    records.learn('w1', '7', JSON.stringify(descriptor));
    records.learn('w2', '7', JSON.stringify({ ...descriptor, workerId: 'w2' }));
    records.keep(['w2']);
    expect([records.knows('w1', '7'), records.knows('w2', '7')]).toEqual([false, true]);
  });
});
