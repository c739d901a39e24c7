import {
  MemoryRegistry,
  MemoryStore,
  workerDescriptor,
  workerLoad,
  workersOf,
} from '@kvcapsule/testing/ports';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';

import { Registration } from './registration.js';

async function registered() {
  const store = new MemoryStore();
  const registry = new MemoryRegistry(store);
  const seen = { epochs: [] as number[], beats: 0, replaced: 0 };
  const events = {
    registered: (epoch: number) => Promise.resolve(void seen.epochs.push(epoch)),
    beat: () => Promise.resolve(void (seen.beats += 1)),
    replaced: () => void (seen.replaced += 1),
  };
  const logger = pino({ enabled: false });
  const worker = new Registration(registry, workerDescriptor('w'), workerLoad, events, logger, 1e9);
  await worker.start();
  return { store, registry, seen, worker };
}

describe('a registration that is carried out while its answer is lost', () => {
  it.each([1, 2, 5])('is found again after %i lost answers, and nobody was replaced', async (times) => {
    const { store, registry, seen, worker } = await registered();
    const first = worker.epoch;
    store.forget();
    store.losesAnswers = true;
    for (let i = 0; i < times; i += 1) {
      // the heartbeat is refused with an answer; registering is what gets lost
      await worker.beatNow();
    }
    expect(worker.epoch).toBe(first);
    const [won] = await workersOf(registry).catch(() => []);
    expect(won).toBeUndefined();
    store.losesAnswers = false;
    await worker.beatNow();
    const [record] = await workersOf(registry);
    expect(record?.epoch).toBeGreaterThan(first);
    expect(worker.epoch).toBe(record?.epoch);
    expect(seen).toMatchObject({ epochs: [first, record?.epoch], replaced: 0 });
    await worker.beatNow();
    expect(seen).toMatchObject({ beats: 1, replaced: 0 });
    await worker.stop();
    expect(await workersOf(registry)).toEqual([]);
  });

  it('is found again when its record has run out meanwhile', async () => {
    const { store, seen, worker } = await registered();
    store.forget();
    store.losesAnswers = true;
    await worker.beatNow();
    store.losesAnswers = false;
    store.nowMs += 60_000;
    await worker.beatNow();
    await worker.beatNow();
    expect(seen).toMatchObject({ beats: 1, replaced: 0 });
    await worker.stop();
  });
});

describe('a worker', () => {
  it('is replaced by another process, and leaves its record alone', async () => {
    const { registry, seen, worker } = await registered();
    const other = { instanceId: 'other', heldEpoch: 0 };
    const { epoch } = await registry.register(workerDescriptor('w'), workerLoad(), other);
    await worker.beatNow();
    await worker.beatNow();
    expect(seen).toMatchObject({ replaced: 1 });
    await worker.stop();
    expect(await workersOf(registry)).toMatchObject([{ epoch }]);
  });

  it('is replaced by one that came while it was registering', async () => {
    const { store, registry, seen, worker } = await registered();
    store.forget();
    store.losesAnswers = true;
    await worker.beatNow();
    store.losesAnswers = false;
    const other = { instanceId: 'other', heldEpoch: 0 };
    await registry.register(workerDescriptor('w'), workerLoad(), other);
    await worker.beatNow();
    expect(seen.replaced).toBe(1);
    await worker.stop();
  });

  it('is not replaced by a store that is away, nor by late answers to its heartbeats', async () => {
    const { store, seen, worker } = await registered();
    store.away = true;
    await worker.beatNow();
    store.away = false;
    store.losesAnswers = true;
    await worker.beatNow();
    store.losesAnswers = false;
    await worker.beatNow();
    expect(seen).toMatchObject({ beats: 1, replaced: 0 });
    await worker.stop();
  });
});
