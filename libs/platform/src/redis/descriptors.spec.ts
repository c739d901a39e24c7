import type { WorkerDescriptor } from '@kvcapsule/domain/registry';
import { describe, expect, it } from 'vitest';
import { descriptorJson, readDescriptor } from './descriptors.js';

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
  maxRunning: 64,
  codec: 'raw',
  profileId: '',
  codecs: ['raw'],
  formats: [],
};

describe('descriptors of workers', () => {
  it('hold formats with the very rows that markers stand in', () => {
    const format = {
      ...{ codec: 'capsule-mixed', profileId: 'p', tokens: 42, pages: 3, headerBytes: 64, bytesPerToken: 0 },
    };
    const worker = { ...descriptor, formats: [{ ...format, markerRows: [0, 1, 41] }] };
    const json = descriptorJson(worker);
    expect(json).toContain('"markerRows":[0,2,39,1]');
    expect(readDescriptor(json)).toEqual(worker);
    expect(readDescriptor(json.replace('[0,2,39,1]', '[9e9,1]'))).toBeUndefined();
  });

  it('are read without the fields that a newer worker adds', () => {
    const format = {
      ...{
        codec: 'q8',
        profileId: 'p',
        tokens: 0,
        markerRows: [],
        pages: 0,
        headerBytes: 8,
        bytesPerToken: 9,
      },
    };
    const worker = { ...descriptor, formats: [format] };
    const newer = { ...worker, formats: [{ ...format, tier: 'disk' }], transfers: { ports: [1] } };
    expect(readDescriptor(descriptorJson(newer))).toEqual(worker);
  });

  it.each([
    ['no JSON', '{'],
    ['a field of another type', JSON.stringify({ ...descriptor, capacityPages: 'many' })],
    ['a field that is missing', JSON.stringify({ ...descriptor, codecs: undefined })],
  ])('are passed over with %s', (_name, json) => {
    expect(readDescriptor(json)).toBeUndefined();
  });

  it('are not written where nobody could read them', () => {
    expect(() => descriptorJson({ ...descriptor, capacityPages: -1 })).toThrow('capacityPages');
  });
});
