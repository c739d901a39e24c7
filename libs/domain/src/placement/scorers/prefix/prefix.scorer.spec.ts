import { describe, expect, it } from 'vitest';
import { costOn, heldOf, requestOf, viewOf } from '../../../testing/worker-views.js';
import { prefix } from './prefix.scorer.js';

describe('prefix', () => {
  it.each([
    ['nothing is known', undefined, 20],
    ['nothing is held', heldOf(), 20],
    ['a part is held', heldOf({ prefixTokens: 16 }), 4],
    ['more is held than the prompt has', heldOf({ prefixTokens: 24 }), 0],
  ])('where %s', (_what, held, cost) => {
    expect(costOn(prefix.over(requestOf(), []), viewOf(), held)).toBe(cost);
  });
});
