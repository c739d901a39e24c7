import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import type { FileName } from '@kvcapsule/domain/identity';
import { CacheLog } from '@kvcapsule/domain/owners';

import { EncoderCache, type Features } from './encoder-cache.js';
import type { PictureName } from './names.js';

const featuresOf = (id: number, bytes = 10): Features => ({
  name: `n${id}` as PictureName,
  handle: id,
  tokens: bytes,
  bytes,
});
const fileOf = (id: number): FileName => `f${id}`.padEnd(64, '-') as FileName;
const OWNER = { tenant: 't', weight: 1 };

function cacheOf(capacity: number, guaranteedShare = 0): { cache: EncoderCache; evicted: number[] } {
  const evicted: number[] = [];
  const options = { capacityBytes: capacity, guaranteedShare, log: new CacheLog() };
  return { cache: new EncoderCache({ ...options, evicted: ({ handle }) => evicted.push(handle) }), evicted };
}

describe('EncoderCache', () => {
  it('keeps what is pinned over its bound and lets the least recently used go', () => {
    const { cache, evicted } = cacheOf(20);
    for (const id of [1, 2, 3]) cache.add(featuresOf(id), fileOf(id), OWNER);
    expect([cache.bytes, evicted]).toEqual([30, []]);
    for (const id of [3, 1, 2]) cache.unpin(featuresOf(id).name);
    expect(evicted).toEqual([3]);
    expect(cache.pinFile(fileOf(1))?.handle).toBe(1);
    cache.add(featuresOf(4), fileOf(4), OWNER);
    expect(evicted).toEqual([3, 2]);
    expect(cache.pinFile(fileOf(2))).toBeUndefined();
    expect(cache.pin(featuresOf(4).name)?.handle).toBe(4);
  });

  it('writes in its log by which files its features are found', () => {
    const log = new CacheLog();
    const cache = new EncoderCache({ capacityBytes: 10, guaranteedShare: 0, evicted: () => undefined, log });
    const reader = log.read();
    reader.next(9);
    const told = () => reader.next(9)?.changes;
    const stored = (id: number) => ({
      kind: 'stored',
      item: { name: fileOf(id), kind: 'features', tokens: 10, pages: 0 },
    });
    cache.add(featuresOf(1), fileOf(1), OWNER);
    cache.pin(featuresOf(1).name, fileOf(1));
    expect(told()).toEqual([stored(1)]);
    // the same pixels in another file
    cache.pin(featuresOf(1).name, fileOf(2));
    expect(told()).toEqual([{ kind: 'removed', name: fileOf(1) }, stored(2)]);
    expect(log.read().next(9)?.changes).toEqual([stored(2)]);
    for (let pins = 0; pins < 3; pins += 1) cache.unpin(featuresOf(1).name);
    cache.add(featuresOf(3), fileOf(3), OWNER);
    expect(told()).toEqual([stored(3), { kind: 'removed', name: fileOf(2) }]);
  });

  it('finds pixels by the file that brought them last', () => {
    const { cache } = cacheOf(100);
    cache.add(featuresOf(1), fileOf(1), OWNER);
    cache.pin(featuresOf(1).name, fileOf(2));
    expect([cache.pinFile(fileOf(1)), cache.pinFile(fileOf(2))?.handle]).toEqual([undefined, 1]);
  });

  it('lets go of no more than it must, the longest unused first, however it was found', () => {
    const { cache, evicted } = cacheOf(30);
    for (const id of [1, 2, 3]) cache.add(featuresOf(id), fileOf(id), OWNER);
    for (const id of [1, 2, 3]) cache.unpin(featuresOf(id).name);
    cache.pin(featuresOf(1).name);
    cache.unpin(featuresOf(1).name);
    cache.add(featuresOf(4), fileOf(4), OWNER);
    expect([evicted, cache.bytes]).toEqual([[2], 30]);
    // as much as two of them
    cache.add(featuresOf(5, 20), fileOf(5), OWNER);
    expect([evicted, cache.bytes]).toEqual([[2, 3, 1], 30]);
  });

  it('forgets the file of what it lets go', () => {
    const { cache } = cacheOf(10);
    cache.add(featuresOf(1), fileOf(1), OWNER);
    cache.unpin(featuresOf(1).name);
    cache.add(featuresOf(2), fileOf(2), OWNER);
    cache.unpin(featuresOf(2).name);
    // the same pixels in another file
    cache.add(featuresOf(1), fileOf(3), OWNER);
    expect([cache.pinFile(fileOf(1)), cache.pinFile(fileOf(3))?.handle]).toEqual([undefined, 1]);
  });

  it('refuses what would put its bytes or pins wrong', () => {
    const { cache } = cacheOf(100);
    cache.add(featuresOf(1), fileOf(1), OWNER);
    expect(() => {
      cache.add(featuresOf(1), fileOf(2), OWNER);
    }).toThrow('twice');
    cache.unpin(featuresOf(1).name);
    expect(() => {
      cache.unpin(featuresOf(1).name);
    }).toThrow('not pinned');
    expect(cache.bytes).toBe(10);
  });

  it('lets copies of what others hold go before last copies, and says what goes next once it is nearly full', () => {
    const { cache, evicted } = cacheOf(100);
    const keep = (id: number) => {
      cache.add(featuresOf(id), fileOf(id), OWNER);
      cache.unpin(featuresOf(id).name);
    };
    for (let id = 0; id < 8; id += 1) keep(id);
    expect(cache.nextEvictions(3)).toEqual([]);
    for (const id of [8, 9]) keep(id);
    expect(cache.nextEvictions(3)).toEqual([0, 1, 2].map(fileOf));
    cache.adviseCopies([2, 4].map((id) => fileOf(id).slice(0, 32)));
    for (const id of [10, 11, 12]) keep(id);
    expect(evicted).toEqual([2, 4, 0]);
    cache.adviseCopies([]);
    keep(13);
    expect(evicted).toEqual([2, 4, 0, 1]);
  });

  it('takes of a tenant above its share first, and leaves a quiet one its floor', () => {
    const keep = (cache: EncoderCache, id: number, tenant: string) => {
      cache.add(featuresOf(id), fileOf(id), { tenant, weight: 1 });
      cache.unpin(featuresOf(id).name);
    };
    const [shared, floors] = [cacheOf(40), cacheOf(40, 0.5)];
    for (const { cache } of [shared, floors]) {
      keep(cache, 0, 'quiet');
      for (let id = 1; id < 4; id += 1) keep(cache, id, 'busy');
    }
    for (const { cache } of [shared, floors]) for (let id = 4; id < 20; id += 1) keep(cache, id, 'busy');
    expect(shared.evicted.slice(0, 2)).toEqual([1, 2]);
    expect(floors.evicted).not.toContain(0);
  });

  it('keeps nothing without room, but what is in use', () => {
    const { cache, evicted } = cacheOf(0);
    cache.add(featuresOf(1), fileOf(1), OWNER);
    cache.pin(featuresOf(1).name);
    cache.unpin(featuresOf(1).name);
    expect(evicted).toEqual([]);
    cache.unpin(featuresOf(1).name);
    expect([evicted, cache.bytes, cache.pictures]).toEqual([[1], 0, 0]);
    expect(() => {
      cache.unpin(featuresOf(1).name);
    }).toThrow('not pinned');
  });

  it('never forgets pinned features, and keeps its bytes and bound, over many operations', () => {
    const operation = fc.record({ id: fc.nat(12), file: fc.nat(15), unpin: fc.boolean() });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 300 }), fc.nat(60), (operations, capacity) => {
        const { cache, evicted } = cacheOf(capacity);
        const held = new Map<number, Features>();
        const pins = new Map<number, number>();
        for (const { id, file, unpin } of operations) {
          const features = featuresOf(id, 1 + id * 2);
          const count = pins.get(id) ?? 0;
          if (unpin && count > 0) {
            cache.unpin(features.name);
            pins.set(id, count - 1);
          } else if (!unpin) {
            const known = cache.pin(features.name, fileOf(file));
            expect(known).toEqual(held.get(id));
            if (!known) cache.add(features, fileOf(file), OWNER);
            held.set(id, features);
            pins.set(id, count + 1);
          }
          for (const handle of evicted.splice(0)) {
            expect(pins.get(handle)).toBe(0);
            held.delete(handle);
          }
          const bytes = [...held.values()].reduce((sum, one) => sum + one.bytes, 0);
          expect(cache.bytes).toBe(bytes);
          const pinned = [...held.entries()].filter(([one]) => (pins.get(one) ?? 0) > 0);
          if (bytes > capacity) expect(pinned.length).toBe(held.size);
        }
      }),
      { numRuns: 300, seed: 3 },
    );
  });
});
