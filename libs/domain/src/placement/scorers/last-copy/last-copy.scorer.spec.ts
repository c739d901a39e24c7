import { describe, expect, it } from 'vitest';
import { requestOf, viewOf } from '../../../testing/worker-views.js';
import { lastCopy } from './last-copy.scorer.js';

describe('last-copy', () => {
  it('costs what would be lost, and nothing can be told where nobody knows', () => {
    const lastCopies = ({ record }: ReturnType<typeof viewOf>) => (record.workerId === 'a' ? 70 : undefined);
    const cost = lastCopy.over(requestOf({ lastCopies }), []);
    expect([cost?.(viewOf({ id: 'a' }), undefined), cost?.(viewOf(), undefined)]).toEqual([70, undefined]);
  });

  it('says nothing without an index', () => {
    expect(lastCopy.over(requestOf(), [])).toBeUndefined();
  });
});
