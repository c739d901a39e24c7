import { describe, expect, it } from 'vitest';
import { checkSplit, withoutDetail } from './workload.js';

const SERIES = { seed: 2001, artwork: 'known' };
const SCENES = [0, 1, 2];
const profile = (source: string | undefined) => ({
  path: 'p',
  pictures: 384,
  ...(source !== undefined && { source }),
});

describe('checkSplit', () => {
  it('lets other series and unknown sources pass', () => {
    expect(() => {
      checkSplit(SERIES, SCENES, [profile('scenes:1001'), profile('folder'), profile(undefined)]);
    }).not.toThrow();
  });

  it('refuses a profile that was fitted on the series', () => {
    expect(() => {
      checkSplit(SERIES, SCENES, [profile('scenes:2001')]);
    }).toThrow(/--seed: 2001 shares pictures with p/);
  });
});

describe('withoutDetail', () => {
  it('puts the mean of the pixels in the place of each square', () => {
    const rgb = Uint8Array.from([
      0, 0, 0, 10, 20, 30, 200, 0, 4, 100, 0, 4, 20, 0, 0, 30, 20, 30, 200, 0, 4, 100, 0, 8,
    ]);
    const small = withoutDetail({ name: 'p', rgb, width: 4, height: 2 }, 2);
    expect(small).toEqual({ name: 'p', width: 2, height: 1, rgb: Uint8Array.from([15, 10, 15, 150, 0, 5]) });
  });

  it('refuses what does not divide the edges', () => {
    expect(() => withoutDetail({ name: 'p', rgb: new Uint8Array(27), width: 3, height: 3 }, 2)).toThrow(
      /detail: 2/,
    );
  });
});
