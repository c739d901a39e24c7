import { describe, expect, it } from 'vitest';
import { costOn, heldOf, requestOf, viewOf } from '../../../testing/worker-views.js';
import { picture } from './picture.scorer.js';

const request = requestOf({ promptTokens: 500, pictures: 4, pictureTokens: 400 });

describe('picture', () => {
  it.each([
    ['nothing is known', undefined, 1_600],
    ['nothing is held', heldOf({ pictures: 4 }), 1_600],
    ['the KV of one is held', heldOf({ pictures: 4, picturesHeld: 1 }), 1_200],
    ['the features of one are held', heldOf({ pictures: 4, featuresHeld: 1 }), 1_200],
    ['KV of one and features of the others', heldOf({ pictures: 4, picturesHeld: 1, featuresHeld: 3 }), 0],
    ['more is said to be held than there is', heldOf({ pictures: 4, picturesHeld: 4, featuresHeld: 4 }), 0],
  ])('where %s', (_what, held, cost) => {
    expect(costOn(picture.over(request, []), viewOf(), held)).toBe(cost);
  });

  it('says nothing of a prompt without pictures', () => {
    expect(picture.over(requestOf(), [])).toBeUndefined();
  });
});
