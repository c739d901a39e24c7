import { EventEmitter } from 'node:events';

import { status } from '@grpc/grpc-js';
import {
  CacheChange,
  CachedContent,
  type WatchCacheResponse,
  type WatchCacheRequest,
  WatchCacheRequest as Request,
  type WorkerServiceClient,
} from '@kvcapsule/contracts/worker';
import { cacheDomain, nameFile, rootName, textName } from '@kvcapsule/domain/identity';
import { type CachedItem, CacheLog } from '@kvcapsule/domain/owners';
import { DEFAULT_PRINCIPAL } from '@kvcapsule/domain/request';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { fileOf, generateOf, type Rig, RouterSide, startRig, until } from '../testing/harness.js';
import { CacheAccount } from './cache-account.js';

type Call = Parameters<CacheAccount['watch']>[0];

/** A router that reads what is written when it is told to. */
class Reading extends EventEmitter {
  readonly written: WatchCacheResponse[] = [];
  reads = true;

  constructor(readonly request: WatchCacheRequest) {
    super();
  }

  write(events: WatchCacheResponse): boolean {
    this.written.push(events);
    return this.reads;
  }

  get told(): number {
    return this.written.reduce((sum, { events }) => sum + events.length, 0);
  }
}

const nameOf = (id: number) => id.toString(16).padStart(64, '0');

describe('a stream of what a worker holds', () => {
  const held = new Map<string, CachedItem>();
  let log: CacheLog;
  let account: CacheAccount;
  const store = (id: number) => {
    held.set(nameOf(id), { name: nameOf(id), kind: 'text', tokens: 16, pages: 8 });
    log.stored(nameOf(id), 'text', 16, 8);
  };
  const watch = (known: Partial<WatchCacheRequest> = {}) => {
    const call = new Reading(Request.create(known));
    account.watch(call as unknown as Call);
    return call;
  };

  beforeEach(() => {
    vi.useFakeTimers();
    held.clear();
    log = new CacheLog(100);
    log.addSource(() => held.values());
    account = new CacheAccount(
      { cacheLog: log, nextEvictions: () => [], adviseCopies: () => undefined },
      'i',
    );
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it('writes changes together, and a sign of life where there are none', async () => {
    const call = watch();
    await vi.advanceTimersByTimeAsync(10);
    expect(call.written).toMatchObject([{ instance: 'i', cleared: true, complete: true, events: [] }]);
    for (const id of [1, 2, 3]) store(id);
    await vi.advanceTimersByTimeAsync(100);
    expect(call.written.slice(1).map(({ events }) => events.length)).toEqual([3]);
    await vi.advanceTimersByTimeAsync(25_000);
    expect(call.written.slice(2)).toEqual(
      Array(2).fill({
        instance: 'i',
        sequence: 3n,
        cleared: false,
        complete: true,
        events: [],
        nextEvictions: [],
      }),
    );
    call.emit('cancelled');
    await vi.advanceTimersByTimeAsync(25_000);
    expect([call.written.length, vi.getTimerCount()]).toEqual([4, 0]);
  });

  it('writes what is coming almost at once, but not to a router that has yet to read', async () => {
    const call = watch();
    await vi.advanceTimersByTimeAsync(10);
    for (const id of [1, 2]) log.expected(`${id}`, [[nameOf(id)]]);
    await vi.advanceTimersByTimeAsync(2);
    const { CACHE_CHANGE_COMING, CACHE_CHANGE_WITHDRAWN } = CacheChange;
    expect(call.written.slice(1)).toMatchObject([
      { events: [{ change: CACHE_CHANGE_COMING }, { change: CACHE_CHANGE_COMING }] },
    ]);
    call.reads = false;
    log.ended('1');
    await vi.advanceTimersByTimeAsync(50);
    expect(call.written.slice(2)).toMatchObject([{ events: [{ change: CACHE_CHANGE_WITHDRAWN }] }]);
    log.expected('3', [[nameOf(3)]]);
    await vi.advanceTimersByTimeAsync(50);
    expect(call.written).toHaveLength(3);
    call.emit('cancelled');
    log.expected('4', [[nameOf(4)]]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('tells much in messages of a thousand', async () => {
    for (let id = 0; id < 2_500; id += 1) store(id);
    const call = watch();
    await vi.advanceTimersByTimeAsync(20);
    expect(call.written.map(({ events, complete }) => [events.length, complete])).toEqual([
      [1_000, false],
      [1_000, false],
      [500, true],
    ]);
  });

  it('waits for a router that does not read, and tells it everything again when it has missed too much', async () => {
    const call = watch();
    await vi.advanceTimersByTimeAsync(10);
    call.reads = false;
    store(1);
    await vi.advanceTimersByTimeAsync(100);
    for (let id = 2; id < 300; id += 1) store(id);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(call.written).toHaveLength(2);
    call.reads = true;
    call.emit('drain');
    await vi.advanceTimersByTimeAsync(100);
    expect(call.written.slice(2)).toMatchObject([{ cleared: true, complete: true }]);
    expect(call.written[2]?.events).toHaveLength(299);
  });

  it.each([
    ['goes on after what is known', { instance: 'i', sequence: 2n }, 1, false],
    ['begins anew for who knows another process', { instance: 'j', sequence: 2n }, 3, true],
  ])('%s', async (_, known, events, cleared) => {
    watch().emit('cancelled');
    for (const id of [1, 2, 3]) store(id);
    const call = watch(known);
    await vi.advanceTimersByTimeAsync(100);
    expect([call.told, call.written[0]?.cleared]).toEqual([events, cleared]);
  });
});

describe('a worker whose pages are short', () => {
  const bytes = (id: number) => Buffer.from(nameOf(id).slice(0, 32), 'hex');
  let account: CacheAccount;
  let next: string[];
  let advised: string[][];
  const watch = () => {
    const call = new Reading(Request.create());
    account.watch(call as unknown as Call);
    return call;
  };
  const asked = (call: Reading) => call.written.flatMap(({ nextEvictions }) => nextEvictions);
  const advise = (instance: string, copiedNames: Buffer[]) => {
    let answer: unknown;
    const call = { request: { instance, copiedNames } } as unknown as Parameters<CacheAccount['advise']>[0];
    account.advise(call, (error) => {
      answer = error?.code;
    });
    return answer;
  };

  beforeEach(() => {
    vi.useFakeTimers();
    advised = [];
    next = [];
    account = new CacheAccount(
      {
        cacheLog: new CacheLog(),
        nextEvictions: (count) => next.slice(0, count),
        adviseCopies: (names) => void advised.push([...names]),
      },
      'i',
    );
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('asks one router once a second what lies elsewhere, and the next one when that has gone', async () => {
    const [first, second] = [watch(), watch()];
    next = [1, 2].map(nameOf);
    await vi.advanceTimersByTimeAsync(1_900);
    expect([asked(first), asked(second)]).toEqual([[1, 2, 1, 2].map(bytes), []]);
    next = Array.from({ length: 90 }, (_, id) => nameOf(id));
    first.emit('cancelled');
    expect(advised).toEqual([[]]);
    await vi.advanceTimersByTimeAsync(500);
    expect(asked(second)).toHaveLength(64);
  });

  it('takes advice that was meant for it', () => {
    expect(advise('i', [bytes(1), bytes(3)])).toBeUndefined();
    expect(advised).toEqual([[1, 3].map((id) => nameOf(id).slice(0, 32))]);
    expect(advise('j', [bytes(1)])).toBe(status.NOT_FOUND);
    expect(advise('i', [Buffer.from('short')])).toBe(status.INVALID_ARGUMENT);
    expect(advise('i', Array<Buffer>(65).fill(bytes(1)))).toBe(status.INVALID_ARGUMENT);
    expect(advised).toHaveLength(1);
  });
});

describe('a worker', () => {
  let rig: Rig;
  afterEach(() => rig.close());

  /** What the worker says it holds: kind by name. */
  function hear(client: WorkerServiceClient) {
    const known = new Map<string, CachedContent>();
    const call = client.watchCache({ instance: '', sequence: 0n });
    call.on('error', () => undefined);
    call.on('data', ({ cleared, events }: WatchCacheResponse) => {
      if (cleared) known.clear();
      for (const { name, change, content } of events) {
        if (change === CacheChange.CACHE_CHANGE_STORED) known.set(name.toString('hex'), content);
        else if (change === CacheChange.CACHE_CHANGE_REMOVED) known.delete(name.toString('hex'));
      }
    });
    return {
      known,
      cancel: () => {
        call.cancel();
      },
    };
  }

  it('says which blocks and pictures a request has left there, by the names that all make alike', async () => {
    rig = await startRig();
    const { known, cancel } = hear(rig.client);
    const text = Array.from({ length: 20 }, (_, at) => 10 + at);
    const asking = generateOf({ id: 'a', parts: [text, { tokens: 4, mark: 1 }], maxTokens: 1 });
    await new RouterSide(rig.client).ask(asking);
    const domain = cacheDomain(DEFAULT_PRINCIPAL.tenant, '');
    const root = rootName({
      ...{ modelRevision: 'r', arithmetic: 'a', precision: 'f', imageProcessor: 'p', domain },
    });
    const block = textName(root, text.slice(0, 16)).slice(0, 32);
    const file = nameFile(fileOf([4, 1]).contentSha256, domain).slice(0, 32);
    await until(() => known.size >= 4);
    expect([known.get(block), known.get(file)]).toEqual([
      CachedContent.CACHED_CONTENT_TEXT,
      CachedContent.CACHED_CONTENT_FEATURES,
    ]);
    expect([...known.values()]).toContain(CachedContent.CACHED_CONTENT_PICTURE);
    cancel();
  });
});
