import { createHash } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { status } from '@grpc/grpc-js';
import {
  type AdviseEvictionRequest,
  CacheChange,
  CachedContent,
  WatchCacheResponse,
  type WatchCacheRequest,
  type WorkerServiceClient,
} from '@kvcapsule/contracts/worker';
import { contentKey } from '@kvcapsule/domain/placement';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Fleet } from '../fleet/fleet.service.js';
import { Telemetry } from '../operations/telemetry.service.js';
import type { Settings } from '../settings.js';
import { MemoryPorts, workerRecord } from '../testing/memory-ports.js';
import { Owners } from './owners.service.js';

const name = (id: number) => createHash('sha256').update(`${id}`).digest().subarray(0, 16);

class Call extends EventEmitter {
  cancelled = false;

  constructor(
    readonly address: string,
    readonly known: WatchCacheRequest,
  ) {
    super();
  }

  cancel(): void {
    this.cancelled = true;
  }

  /** Ids of what is stored, negative ones of what is removed. */
  say(
    ids: readonly number[],
    more: Partial<WatchCacheResponse> = {},
    [plus, minus] = [CacheChange.CACHE_CHANGE_STORED, CacheChange.CACHE_CHANGE_REMOVED],
  ): void {
    const events = ids.map((id) => ({
      name: name(Math.abs(id)),
      change: id < 0 ? minus : plus,
      ...{ content: CachedContent.CACHED_CONTENT_TEXT, tokens: 16, pages: 8 },
    }));
    this.emit(
      'data',
      WatchCacheResponse.create({ instance: 'i', sequence: 7n, complete: true, events, ...more }),
    );
  }
}

let ports: MemoryPorts;
let fleet: Fleet;
let owners: Owners;
let telemetry: Telemetry;
let calls: Call[];
let advised: AdviseEvictionRequest[];
const call = () => calls.at(-1)!;
const held = (id: number) => owners.index.ownersOf(name(id)).length;
const gaps = async () => (await telemetry.metrics.ownersGaps.get()).values[0]?.value;

/** A second, in which the fleet looks after itself. */
async function pass(): Promise<void> {
  fleet.tick();
  fleet.changed();
  await vi.advanceTimersByTimeAsync(1_000);
}

beforeEach(async () => {
  vi.useFakeTimers();
  calls = [];
  advised = [];
  ports = new MemoryPorts();
  ports.connect = (address) => {
    const watchCache = (known: WatchCacheRequest) => {
      calls.push(new Call(address, known));
      return call();
    };
    const adviseEviction = (advice: AdviseEvictionRequest) => void advised.push(advice);
    return { watchCache, adviseEviction, close: () => undefined } as unknown as WorkerServiceClient;
  };
  ports.workers = [workerRecord('w0', 'host:1')];
  const settings = { indexNames: 10_000 } as Settings;
  fleet = new Fleet(ports, settings);
  telemetry = new Telemetry();
  owners = new Owners(fleet, telemetry, settings);
  await fleet.refresh();
});

afterEach(async () => {
  owners.onApplicationShutdown();
  await fleet.onApplicationShutdown();
  vi.useRealTimers();
});

describe('what a router knows of a worker’s caches', () => {
  it('is what the worker says, from its first word on', () => {
    expect(owners.numberOf('w0')).toBeUndefined();
    call().say([1, 2], { cleared: true });
    call().say([3, -1]);
    expect([1, 2, 3].map(held)).toEqual([0, 1, 1]);
    expect(owners.numberOf('w0')).toBe(0);
    expect([owners.index.names, owners.numberOf('nobody')]).toEqual([2, undefined]);
  });

  it('goes on after a broken call where it was', async () => {
    call().say([1], { cleared: true });
    call().emit('error', { code: status.UNAVAILABLE });
    await vi.advanceTimersByTimeAsync(600);
    expect(calls.map(({ known }) => known)).toEqual([
      { instance: '', sequence: 0n },
      { instance: 'i', sequence: 7n },
    ]);
    call().say([2]);
    expect([1, 2].map(held)).toEqual([1, 1]);
    expect(await gaps()).toBe(0);
  });

  it('is asked for from the beginning when a call broke before everything was told', async () => {
    call().say([1], { cleared: true, complete: false });
    call().emit('end');
    await vi.advanceTimersByTimeAsync(600);
    expect(call().known).toEqual({ instance: '', sequence: 0n });
    call().say([2], { cleared: true });
    expect([1, 2].map(held)).toEqual([0, 1]);
    expect(await gaps()).toBe(0);
  });

  it('is void when the worker begins anew: as another process, or since this router fell behind', async () => {
    call().say([1], { cleared: true });
    call().say([2], { cleared: true });
    expect(await gaps()).toBe(1);
    call().say([3], { cleared: true, instance: 'j' });
    expect([1, 2, 3].map(held)).toEqual([0, 0, 1]);
    expect(await gaps()).toBe(1);
    expect(owners.index.pairs).toBe(3);
    await pass();
    await vi.advanceTimersByTimeAsync(5_000);
    expect([owners.index.pairs, owners.index.names]).toEqual([1, 1]);
  });

  it('is believed for a while after the worker was lost, and then forgotten', async () => {
    call().say([1], { cleared: true });
    call().emit('error', { code: status.UNAVAILABLE });
    for (let tried = 0; tried < 9; tried += 1) {
      await vi.advanceTimersByTimeAsync(1_000);
      if (call().listenerCount('error') > 0) call().emit('error', { code: status.UNAVAILABLE });
    }
    expect(held(1)).toBe(1);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(held(1)).toBe(0);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(call().known).toEqual({ instance: '', sequence: 0n });
  });

  it('is nothing where the worker does not know the call, which is asked once a minute', async () => {
    call().emit('error', { code: status.UNIMPLEMENTED });
    await vi.advanceTimersByTimeAsync(50_000);
    expect(calls).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(15_000);
    expect(calls).toHaveLength(2);
  });

  it('goes with the worker, and with its address', async () => {
    call().say([1], { cleared: true });
    ports.workers = [workerRecord('w0', 'host:2', { epoch: 2 })];
    await fleet.refresh();
    await pass();
    expect(calls.map(({ address, cancelled }) => [address, cancelled])).toEqual([
      ['host:1', true],
      ['host:2', false],
    ]);
    expect(held(1)).toBe(0);
    call().say([2], { cleared: true });
    ports.workers = [];
    await fleet.refresh();
    for (let second = 0; second < 8; second += 1) {
      await vi.advanceTimersByTimeAsync(1_000);
      await pass();
    }
    expect([held(2), call().cancelled]).toEqual([0, true]);
  });

  it('answers the worker which of its content another one keeps: one of those that have it is told that it is the last', async () => {
    ports.workers = ['w0', 'w1', 'w2'].map((id) => workerRecord(id, `host:${id}`));
    await fleet.refresh();
    await pass();
    const three = ['w0', 'w1', 'w2'].map((id) => calls.find(({ address }) => address === `host:${id}`)!);
    for (const each of three) each.say([1, 2, 3, 4], { cleared: true });
    three[0]?.say([9]);
    await vi.advanceTimersByTimeAsync(1_000);
    const nextEvictions = [1, 2, 3, 4, 9, 10].map(name);
    for (const each of three) each.say([], { nextEvictions: [...nextEvictions, Buffer.from('short')] });
    const told = advised.map(({ copiedNames }) => copiedNames.map((copied) => copied.toString('hex')));
    expect(advised.map(({ instance }) => instance)).toEqual(['i', 'i', 'i']);
    for (const id of [1, 2, 3, 4]) {
      expect(told.filter((names) => names.includes(name(id).toString('hex')))).toHaveLength(2);
    }
    // nobody else has these, as far as anybody knows
    expect(told[0]).not.toContain(name(9).toString('hex'));
    expect(told.flat()).not.toContain(name(10).toString('hex'));
  });

  it('is also what comes there, until it is stored or withdrawn, or the worker begins anew or is lost', async () => {
    const COMING: [CacheChange, CacheChange] = [
      CacheChange.CACHE_CHANGE_COMING,
      CacheChange.CACHE_CHANGE_WITHDRAWN,
    ];
    const ids = [1, 2, 3, 4];
    const coming = () => ids.filter((id) => owners.coming.has(contentKey(name(id)), 'w0'));
    call().say([1, 2, 3], { cleared: true }, COMING);
    expect([coming(), owners.index.names]).toEqual([[1, 2, 3], 0]);
    call().say([2]);
    call().say([-3, 4], {}, COMING);
    expect([coming(), held(2)]).toEqual([[1, 4], 1]);
    call().emit('end');
    await vi.advanceTimersByTimeAsync(600);
    call().say([-1], {}, COMING);
    expect(coming()).toEqual([4]);
    call().say([3], { cleared: true }, COMING);
    expect([coming(), held(2)]).toEqual([[3], 0]);
    call().emit('error', { code: status.UNAVAILABLE });
    await vi.advanceTimersByTimeAsync(600);
    call().emit('error', { code: status.UNAVAILABLE });
    await vi.advanceTimersByTimeAsync(10_000);
    expect([coming(), owners.coming.size]).toEqual([[], 0]);
  });

  it('takes no name that is not one', () => {
    const wrong = { name: Buffer.from('short'), change: CacheChange.CACHE_CHANGE_STORED };
    call().emit(
      'data',
      WatchCacheResponse.create({
        cleared: true,
        complete: true,
        events: [{ ...wrong, content: 1, tokens: 1, pages: 1 }],
      }),
    );
    expect(owners.index.names).toBe(0);
  });

  it('grows old while the worker says nothing', async () => {
    call().say([1], { cleared: true });
    await vi.advanceTimersByTimeAsync(4_000);
    expect(owners.silentMs).toBe(4_000);
    call().say([]);
    expect(owners.silentMs).toBe(0);
  });
});
