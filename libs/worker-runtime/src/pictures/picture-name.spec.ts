import { cacheDomain } from '@kvcapsule/domain/identity';
import { describe, expect, it } from 'vitest';

import { namePicture } from './picture-name.js';

const bytes = (length: number, step = 7): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => (index * step) % 251);
const name = (
  width: number,
  height: number,
  rgb = bytes(width * height * 3),
  processor = 'p',
  salt = '',
  tenant = 't',
) => namePicture({ rgb, width, height }, processor, cacheDomain(tenant, salt));

describe('namePicture', () => {
  it('gives 32 bytes that only the same picture gets', async () => {
    expect(await name(8, 4)).toMatch(/^[0-9a-f]{64}$/);
    expect(await name(8, 4)).toBe(await name(8, 4));
    expect(await name(8, 4, bytes(96, 11))).not.toBe(await name(8, 4));
  });

  it('keeps apart what has the same bytes in another shape or for another processor', async () => {
    const shapes = [
      [64, 256],
      [256, 64],
      [128, 128],
      [1, 16_384],
      [16_384, 1],
    ] as const;
    const names = await Promise.all(shapes.map(([width, height]) => name(width, height)));
    expect(new Set([...names, await name(128, 128, bytes(49_152), 'q')]).size).toBe(6);
    // fields that join to one string
    expect(await name(11, 1, bytes(33))).not.toBe(await name(1, 11, bytes(33)));
    expect(await name(1, 1, bytes(3), '1')).not.toBe(await name(1, 1, bytes(3), '11'));
  });

  it('keeps apart what requests of other tenants or with other salts sent', async () => {
    const apart = [
      ['p', '', 't'],
      ['p', 's', 't'],
      ['p', 's', 'u'],
      ['p', '', 'ts'],
      ['ps', '', 't'],
      ['', 'ps', 't'],
    ] as const;
    const names = apart.map(([processor, salt, tenant]) => name(8, 4, bytes(96), processor, salt, tenant));
    expect(new Set(await Promise.all(names)).size).toBe(6);
  });

  it('sees every byte of a picture of many chunks', async () => {
    const [width, height] = [2048, 1500];
    const rgb = new Uint8Array(width * height * 3);
    const names = [await name(width, height, rgb)];
    for (const at of [0, (4 << 20) - 1, 4 << 20, rgb.length - 1]) {
      rgb[at] = 1;
      names.push(await name(width, height, rgb));
      rgb[at] = 0;
    }
    expect(new Set(names).size).toBe(5);
  });
});
