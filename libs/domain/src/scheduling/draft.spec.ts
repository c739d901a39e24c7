import { describe, expect, it } from 'vitest';

import { assemble, newDraft } from './draft.js';
import type { Sequence } from './sequence/sequence.js';

describe('a step', () => {
  it('leaves out what was compressed for a sequence that is sent away in it', () => {
    const draft = newDraft(1, 10);
    const open = { kind: 'open', slot: 3 } as const;
    draft.head.push({ sequence: { slot: -1 } as Sequence, slot: 3, changes: [open] });
    draft.preempted.push('gone');
    expect(assemble(draft, [3])?.changes).toEqual([{ kind: 'close', slot: 3 }]);
    draft.head.push({ sequence: { slot: 4 } as Sequence, slot: 4, changes: [open, open] });
    expect(assemble(draft, [3])?.changes).toHaveLength(3);
  });

  it('is there for whatever is to be told, also without rows, and else not', () => {
    expect(assemble(newDraft(1, 10), [3])).toBeUndefined();
    const draft = newDraft(1, 10);
    draft.preempted.push('a', 'b');
    draft.missing.push('c');
    draft.exhausted.set('d', []);
    draft.exhausted.set('e', []);
    expect(assemble(draft, [])).toMatchObject({
      rows: 0,
      preempted: ['a', 'b'],
      missing: ['c'],
      exhausted: ['d', 'e'],
    });
    const ends = newDraft(1, 10);
    ends.preempted.push('a');
    ends.exhausted.set('b', []);
    expect(assemble(ends, [])).toMatchObject({ preempted: ['a'], exhausted: ['b'] });
    const both = newDraft(1, 10);
    both.preempted.push('a');
    both.missing.push('b');
    expect(assemble(both, [])).toMatchObject({ missing: ['b'] });
  });
});
