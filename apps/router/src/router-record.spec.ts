import { ROUTER_RENEWAL_MS, ROUTER_TTL_MS } from '@kvcapsule/domain/registry';
import { refusalError, type RouterIdentity } from '@kvcapsule/domain/ledger';
import { MemoryRegistry, MemoryStore } from '@kvcapsule/testing/ports';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RouterRecord, routerIdOf } from './router-record.js';

let store: MemoryStore;
let registry: MemoryRegistry;
let warned: string[];
let opened: RouterRecord[];

const open = async (routerId = 'a'): Promise<RouterRecord> => {
  const record = await RouterRecord.open(registry, routerId, (line) => warned.push(line));
  opened.push(record);
  return record;
};

/** Both clocks: ours and the store's. */
async function pass(ms: number, ofStoreMs = ms): Promise<void> {
  store.nowMs += ofStoreMs;
  await vi.advanceTimersByTimeAsync(ms);
}

const isAbsent = ({ routerId, epoch }: RouterIdentity) =>
  store.routers.isAbsent(routerId, epoch, store.nowMs);
const asItself = (record: RouterRecord) => record.run((as) => Promise.resolve(as));

beforeEach(() => {
  vi.useFakeTimers();
  store = new MemoryStore();
  store.nowMs = 1_000;
  registry = new MemoryRegistry(store);
  [warned, opened] = [[], []];
});

afterEach(async () => {
  for (const record of opened) await record.close();
  vi.useRealTimers();
});

describe('a router’s record', () => {
  it('is renewed, so that its epoch stays while the process lives, and ends with it', async () => {
    const record = await open();
    const { identity } = record;
    expect(identity).toEqual({ routerId: 'a', epoch: 1_000 });
    for (let round = 0; round < 10; round += 1) await pass(ROUTER_RENEWAL_MS);
    expect([record.identity, isAbsent(identity)]).toEqual([identity, false]);
    await record.close();
    expect(isAbsent(identity)).toBe(true);
  });

  it('tells how many routers there are, as of the last renewal, also while the store is away', async () => {
    const record = await open();
    expect(record.routers).toBe(1);
    const other = await open('b');
    await pass(ROUTER_RENEWAL_MS);
    expect([record.routers, other.routers]).toEqual([2, 2]);
    store.away = true;
    await pass(3 * ROUTER_RENEWAL_MS);
    expect(record.routers).toBe(2);
    store.away = false;
    await other.close();
    await pass(ROUTER_RENEWAL_MS);
    expect(record.routers).toBe(1);
  });

  it('is made anew where the process was stopped for longer than it lives, before anything is reserved', async () => {
    const record = await open();
    const { identity } = record;
    store.nowMs += ROUTER_TTL_MS;
    vi.setSystemTime(Date.now());
    // time passes and no timer runs, as for a stopped process
    vi.spyOn(performance, 'now').mockReturnValue(performance.now() + ROUTER_TTL_MS);
    expect((await asItself(record)).epoch).toBeGreaterThan(identity.epoch);
    vi.restoreAllMocks();
  });

  it('is made anew where a ledger refuses its epoch, once for all who meet that', async () => {
    const record = await open();
    const { epoch } = record.identity;
    const asked: number[] = [];
    const reserve = (as: RouterIdentity) => {
      asked.push(as.epoch);
      return as.epoch === epoch ? Promise.reject(refusalError('STALE_ROUTER', 'w')) : Promise.resolve(as);
    };
    const answers = await Promise.all([record.run(reserve), record.run(reserve)]);
    expect(answers).toEqual([record.identity, record.identity]);
    expect(asked).toEqual([epoch, epoch, epoch + 1, epoch + 1]);
  });

  it('rejects where it is refused twice, and with every other refusal', async () => {
    const record = await open();
    for (const refusal of ['STALE_ROUTER', 'NO_CAPACITY'] as const)
      await expect(record.run(() => Promise.reject(refusalError(refusal, 'w')))).rejects.toMatchObject({
        code: refusal,
      });
  });

  it('goes on under an id of its own where another process has taken its id, which keeps it', async () => {
    const old = await open();
    const before = old.identity;
    const young = await open();
    expect(young.identity.epoch).toBeGreaterThan(before.epoch);
    await pass(ROUTER_RENEWAL_MS);
    expect([isAbsent(before), isAbsent(young.identity)]).toEqual([true, false]);
    expect(old.identity.routerId).toMatch(/^router-[0-9a-f]{12}$/);
    expect(isAbsent(old.identity)).toBe(false);
    expect(warned).toEqual([expect.stringContaining('another router has registered as a')]);
    await pass(10 * ROUTER_RENEWAL_MS);
    expect([young.identity.routerId, warned.length]).toEqual(['a', 1]);
  });

  it('stands while the store is away, and is made anew when that is back empty', async () => {
    const record = await open();
    const { epoch } = record.identity;
    store.away = true;
    await pass(ROUTER_RENEWAL_MS);
    expect(record.identity.epoch).toBe(epoch);
    store.away = false;
    store.forget();
    await pass(ROUTER_RENEWAL_MS);
    expect(record.identity.epoch).toBeGreaterThan(epoch);
    store.away = true;
    await expect(open('b')).rejects.toMatchObject({ code: 'LEDGER_UNAVAILABLE' });
  });
});

describe('the id of a router', () => {
  it('is one for each process', () => {
    expect([routerIdOf('a', undefined), routerIdOf('a', 2)]).toEqual(['a', 'a-2']);
    expect(routerIdOf(undefined, 2)).not.toBe(routerIdOf(undefined, 2));
  });
});
