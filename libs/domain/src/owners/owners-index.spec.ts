import { createHash } from 'node:crypto';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { type OwnerNumber, OwnersIndex } from './owners-index.js';

const nameOf = (id: number): Uint8Array => createHash('sha256').update(`${id}`).digest().subarray(0, 16);
/** Each size is one that an index keeps as it is. */
const sizeOf = (id: number) => ({ tokens: 2 ** (id % 9), pages: id % 4 === 0 ? 0 : 2 ** (id % 5) });
const NAMES = Array.from({ length: 40 }, (_, id) => nameOf(id));

/** As the index, by the plainest means; it forgets nothing. */
class Model {
  readonly held = new Map<OwnerNumber, Set<number>>();

  owners(id: number): OwnerNumber[] {
    return [...this.held].flatMap(([owner, ids]) => (ids.has(id) ? [owner] : [])).sort((a, b) => a - b);
  }

  holding(owner: OwnerNumber) {
    let [pages, lastCopyTokens] = [0, 0];
    for (const id of this.held.get(owner) ?? []) {
      const size = sizeOf(id);
      pages += size.pages;
      if (size.pages > 0 && this.owners(id).length === 1) lastCopyTokens += size.tokens;
    }
    return { pages, lastCopyTokens };
  }

  prefixes(ids: readonly number[]): Map<OwnerNumber, number> {
    const reach = new Map<OwnerNumber, number>();
    for (const [owner, held] of this.held) {
      const missing = ids.findIndex((id) => !held.has(id));
      const count = missing < 0 ? ids.length : missing;
      if (count > 0) reach.set(owner, count);
    }
    return reach;
  }
}

const id = fc.nat(NAMES.length - 1);
const action = fc.oneof(
  { weight: 8, arbitrary: fc.record({ act: fc.constant('stored' as const), at: fc.nat(9), id }) },
  { weight: 5, arbitrary: fc.record({ act: fc.constant('removed' as const), at: fc.nat(9), id }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('join' as const) }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('leave' as const), at: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('sweep' as const), parts: fc.nat(300) }) },
);

/** An index and its model after random actions. */
function played(
  index: OwnersIndex,
  actions: readonly (typeof action extends fc.Arbitrary<infer T> ? T : never)[],
) {
  const model = new Model();
  const join = () => {
    const owner = index.join();
    if (owner !== undefined) model.held.set(owner, new Set());
  };
  for (let worker = 0; worker < 4; worker += 1) join();
  for (const step of actions) {
    if (step.act === 'join') join();
    if (step.act === 'sweep') for (let part = 0; part < step.parts; part += 1) index.sweep();
    if (!('at' in step)) continue;
    const [owner, held] = [...model.held][step.at % model.held.size] ?? [];
    if (owner === undefined || !held) continue;
    if (step.act === 'leave') {
      index.leave(owner);
      model.held.delete(owner);
      if (model.held.size === 0) join();
    } else if (step.act === 'stored') {
      index.stored(owner, NAMES[step.id]!, sizeOf(step.id));
      held.add(step.id);
    } else {
      index.removed(owner, NAMES[step.id]!);
      held.delete(step.id);
    }
  }
  return model;
}

describe('OwnersIndex', () => {
  it('knows who holds what, whatever comes, goes and leaves', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), fc.array(id, { maxLength: 8 }), (actions, asked) => {
        const index = new OwnersIndex({ maxNames: 100_000 });
        const model = played(index, actions);
        for (const [at, name] of NAMES.entries()) expect(index.ownersOf(name)).toEqual(model.owners(at));
        const found = index.prefixes(asked.map((at) => NAMES[at]!));
        expect([...found].sort(([a], [b]) => a - b)).toEqual(
          [...model.prefixes(asked)].sort(([a], [b]) => a - b),
        );
        while (index.needsSweep) index.sweep();
        const pairs = [...model.held.values()].reduce((sum, held) => sum + held.size, 0);
        expect(index.pairs).toBe(pairs);
        for (const owner of model.held.keys()) expect(index.holding(owner)).toEqual(model.holding(owner));
        expect(index.names).toBe(NAMES.filter((_, at) => model.owners(at).length > 0).length);
        for (const [at, name] of NAMES.entries()) expect(index.ownersOf(name)).toEqual(model.owners(at));
      }),
      { numRuns: 500, seed: 23 },
    );
  });

  it('counts who comes to a name and leaves it, also where no other name has the same owners', () => {
    const index = new OwnersIndex({ maxNames: 1_000 });
    const owners = Array.from({ length: 4 }, () => index.join()!);
    const [name] = NAMES;
    const seen = owners.map((owner) => {
      index.stored(owner, name!, { tokens: 16, pages: 8 });
      return [index.pairs, index.holding(owner).pages];
    });
    expect(seen).toEqual([1, 2, 3, 4].map((pairs) => [pairs, 8]));
    const left = owners.map((owner) => {
      index.removed(owner, name!);
      return [index.pairs, index.holding(owner).pages];
    });
    expect(left).toEqual([3, 2, 1, 0].map((pairs) => [pairs, 0]));
  });

  it('says nothing untrue when it holds less than it is told, and keeps its bound', () => {
    const inOneTable = Array.from({ length: 60 }, (_, at) => {
      const name = nameOf(at);
      name[0] = 7;
      return name;
    });
    // 8 names a table
    const index = new OwnersIndex({ maxNames: 2_048 });
    const owner = index.join()!;
    index.stored(owner, inOneTable[0]!);
    for (const name of inOneTable.slice(1)) {
      index.ask(inOneTable[0]!);
      index.stored(owner, name);
      expect(index.names).toBeLessThanOrEqual(8);
      expect(index.ownersOf(name)).toEqual([owner]);
    }
    expect([index.names, index.pairs]).toEqual([8, 8]);
    // what requests ask for stays
    expect(index.ownersOf(inOneTable[0]!)).toEqual([owner]);
    for (const name of inOneTable) index.removed(owner, name);
    expect([index.names, index.pairs]).toEqual([0, 0]);
  });

  it('has no sums left of what made room for others', () => {
    const index = new OwnersIndex({ maxNames: 512 });
    const owners = [index.join()!, index.join()!];
    const names = Array.from({ length: 3_000 }, (_, at) => nameOf(at));
    for (const [at, name] of names.entries())
      for (const owner of at % 3 === 0 ? owners : [owners[at % 2]!]) index.stored(owner, name, sizeOf(at));
    expect(index.holding(owners[0]!).lastCopyTokens).toBeGreaterThan(0);
    for (const name of names) for (const owner of owners) index.removed(owner, name);
    expect(owners.map((owner) => index.holding(owner))).toEqual(
      owners.map(() => ({ pages: 0, lastCopyTokens: 0 })),
    );
  });

  it('counts a name with the size that it came with, whatever is told of it later', () => {
    const index = new OwnersIndex({ maxNames: 1_000 });
    const [a, b] = [index.join()!, index.join()!];
    index.stored(a, NAMES[0]!, { tokens: 16, pages: 8 });
    index.stored(b, NAMES[0]!, { tokens: 16, pages: 2 });
    expect([a, b].map((owner) => index.holding(owner))).toEqual([
      { pages: 8, lastCopyTokens: 0 },
      { pages: 8, lastCopyTokens: 0 },
    ]);
    index.removed(a, NAMES[0]!);
    expect([a, b].map((owner) => index.holding(owner))).toEqual([
      { pages: 0, lastCopyTokens: 0 },
      { pages: 8, lastCopyTokens: 16 },
    ]);
  });

  it('reads a prompt no further than anybody holds it', () => {
    const index = new OwnersIndex({ maxNames: 1_000 });
    const [a, b] = [index.join()!, index.join()!];
    for (const name of NAMES.slice(0, 5)) index.stored(a, name);
    for (const name of [0, 1, 2, 4, 5]) index.stored(b, NAMES[name]!);
    let read = 0;
    const at = (place: number) => {
      read = Math.max(read, place + 1);
      return NAMES[place];
    };
    expect([...index.prefixes({ at })]).toEqual([
      [b, 3],
      [a, 5],
    ]);
    expect(read).toBe(6);
  });

  it('gives numbers again when no name has them, and refuses when all are given', () => {
    const index = new OwnersIndex({ maxNames: 1_000 });
    const numbers = Array.from({ length: 0xffff }, () => index.join()!);
    expect(index.join()).toBeUndefined();
    index.stored(numbers[9]!, NAMES[0]!);
    index.leave(numbers[9]!);
    expect([index.ownersOf(NAMES[0]!), index.join(), index.needsSweep]).toEqual([[], undefined, true]);
    for (let part = 0; part < 256; part += 1) index.sweep();
    expect([index.names, index.join(), index.needsSweep]).toEqual([0, numbers[9], false]);
  });

  it('keeps one set for all names that have the same owners', () => {
    const index = new OwnersIndex({ maxNames: 100_000 });
    const bytes = index.bytes;
    const workers = Array.from({ length: 100 }, () => index.join()!);
    for (const worker of workers) for (const name of NAMES) index.stored(worker, name);
    expect(index.pairs).toBe(4_000);
    // one set of a hundred, and no table has grown
    expect(index.bytes - bytes).toBeLessThan(300);
    for (const worker of workers) for (const name of NAMES) index.removed(worker, name);
    expect([index.bytes, index.names]).toEqual([bytes, 0]);
  });
});
