import { describe, expect, it } from 'vitest';
import { requestOf, viewOf, type ViewChanges } from '../testing/worker-views.js';
import { isLeftToNobody } from './left-alone.js';
import { place } from './place.js';
import { policyOf } from './policies.js';

const alone: ViewChanges = { isLeftAlone: true };

function isLeft(...workers: readonly ViewChanges[]): boolean {
  const views = workers.map((changes, index) => viewOf({ id: `w${index}`, ...changes }));
  return isLeftToNobody(place(requestOf(), views, policyOf('cost-aware'), 0, () => 0));
}

describe('a request', () => {
  it.each<[string, ViewChanges[], boolean]>([
    ['beside a sound worker', [alone, {}], false],
    ['beside a sound one that is full', [alone, { free: 0 }], false],
    ['beside a sound one that is back in a moment', [alone, { reach: 'reconnecting' }], false],
    ['where all are left alone', [alone, alone], true],
    ['where the others are gone', [alone, { reach: 'unreachable' }, { state: 'draining' }], true],
    ['where the others are too small', [alone, { capacity: 1 }], true],
    ['where nobody is', [], false],
    ['where the others are full', [{ free: 0 }], false],
  ])('is left to nobody by breakers %s: %j → %s', (_name, workers, expected) => {
    expect(isLeft(...workers)).toBe(expected);
  });
});
