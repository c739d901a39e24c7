import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { layerRetention, parseRetentions, profilePath } from './retention.js';

describe('retention', () => {
  it('parses shares and refuses anything else by name', () => {
    expect(parseRetentions('0.25,0.4,1')).toEqual([0.25, 0.4, 1]);
    for (const wrong of ['0', '1.1', '-1', '', 'x', '0.4,,0.5', 'NaN']) {
      expect(() => parseRetentions(wrong)).toThrow(/--retention/);
    }
  });

  it('keeps its mean, falls over the layers and stays in (0, 1]', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        fc.integer({ min: 1, max: 40 }),
        fc.constantFrom('flat', 'pyramid'),
        (share, layers, schedule) => {
          const retention = [...layerRetention(share, schedule, layers)];
          const mean = retention.reduce((sum, value) => sum + value, 0) / layers;
          expect(Math.abs(mean - share)).toBeLessThan(1e-6);
          expect(retention.every((value) => value > 0 && value <= 1 + 1e-6)).toBe(true);
          expect(retention).toEqual(retention.toSorted((a, b) => b - a));
        },
      ),
      { seed: 1 },
    );
    const [first, last] = [0, 5].map((layer) => layerRetention(0.4, 'pyramid', 6)[layer]);
    expect([first, last]).toEqual([expect.closeTo(0.6, 5), expect.closeTo(0.2, 5)]);
  });

  it('names one file as asked and several by their share', () => {
    expect(profilePath('p/c.safetensors', 0.4, false)).toBe('p/c.safetensors');
    expect(profilePath('p/c.safetensors', 0.05, true)).toBe('p/c-r05.safetensors');
    expect(profilePath('c.safetensors', 0.25, true)).toBe('c-r25.safetensors');
  });
});
