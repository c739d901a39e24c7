import { describe, expect, it } from 'vitest';
import { costOn, requestOf, viewOf } from '../../../testing/worker-views.js';
import { hardware } from './hardware.scorer.js';

describe('hardware', () => {
  it.each([
    [{}, 0],
    [{ arithmetic: 'cpu-avx2-1' }, 0],
    [{ arithmetic: 'cpu-avx512-1' }, 60],
    [{ precision: 'f16/f16' }, 0],
    [{ precision: 'q8_0/f16' }, 60],
    [{ arithmetic: 'cpu-avx2-1', precision: 'q8_0/f16' }, 60],
    [{ arithmetic: 'cpu-avx2-1', precision: 'f16/f16' }, 0],
  ])('where %j is preferred', (prefers, cost) => {
    const request = requestOf({ prefers, pictures: 1, pictureTokens: 10 });
    expect(costOn(hardware.over(request, []), viewOf())).toBe(cost);
  });

  it('says nothing where nothing is preferred', () => {
    expect(hardware.over(requestOf(), [])).toBeUndefined();
  });
});
