import type { KvcError } from '@kvcapsule/contracts';
import { EPOCH_TTL_MS, LEASE_TTL_MS, MOST_RELEASED, RELEASED_TTL_MS } from '@kvcapsule/domain/ledger';
import { HEARTBEAT_TTL_MS, ROUTER_REMEMBERED_MS, ROUTER_TTL_MS } from '@kvcapsule/domain/registry';
import { workerDescriptor, workerLoad } from '@kvcapsule/testing/ports';
import { describe, expect, it } from 'vitest';

import type { RedisClient } from './scripts.js';
import { descriptorDigest } from './descriptors.js';
import { ANNOUNCED_TTL_MS, MOST_ANNOUNCEMENTS, REGISTRY_KEYS, workerKeys } from './keys.js';
import { RedisLedger } from './ledger.adapter.js';
import { RedisRegistry } from './registry.adapter.js';
import { ScriptCode } from './script-codes.js';
import { keys5, keys6 } from './scripts.js';

type Command = (...args: never[]) => unknown;

/** A client that gives the same answer to a command each time, and writes down what it is asked. */
function client(answers: Record<string, unknown>) {
  const asked: unknown[][] = [];
  const stream = { cork: () => undefined, uncork: () => undefined };
  const known: Record<string, unknown> = { status: 'ready', stream };
  const command =
    (name: string) =>
    (...args: unknown[]) => {
      asked.push([name, ...args]);
      const answer = answers[name];
      return Promise.resolve(
        typeof answer === 'function' ? (answer as Command)(...(args as never[])) : answer,
      );
    };
  const redis = new Proxy(known, {
    get: (_, name) => (String(name) in known ? known[String(name)] : command(String(name))),
  }) as unknown as RedisClient;
  return { redis, asked, ledger: new RedisLedger(redis), registry: new RedisRegistry(redis) };
}

const { info, leases } = workerKeys('w1');
const KEYS = keys5(workerKeys('w1'));
const ALL_KEYS = keys6(workerKeys('w1'));
const { members, loads, wanted, routers } = REGISTRY_KEYS;
const LEASE = { workerId: 'w1', epoch: 7, leaseId: 'l' };
const WORKER = workerDescriptor('w1', { capacityPages: 80 });
const LOAD = workerLoad();
const BY = { instanceId: 'i', heldEpoch: 3 };
const refused = (code: string) => expect.objectContaining({ code }) as KvcError;

describe('the ledger in Redis', () => {
  it('says with each verb whose pages of which lease it means', async () => {
    const { ledger, asked } = client({ kvcReserve: 0, kvcCommit: 0, kvcExtend: 0, kvcRelease: 0 });
    await ledger.reserve(LEASE, 16);
    await ledger.reserve(LEASE, 16, 50);
    await ledger.commit(LEASE, 17);
    await ledger.extend(LEASE, 18);
    await ledger.release(LEASE);
    expect(asked).toEqual([
      ['kvcReserve', ...ALL_KEYS, 7, 'l', 16, LEASE_TTL_MS, '', 0, RELEASED_TTL_MS],
      ['kvcReserve', ...ALL_KEYS, 7, 'l', 16, 50, '', 0, RELEASED_TTL_MS],
      ['kvcCommit', ...KEYS, 7, 'l', 17],
      ['kvcExtend', ...KEYS, 7, 'l', 18],
      ['kvcRelease', ...KEYS, 7, 'l', RELEASED_TTL_MS, MOST_RELEASED],
    ]);
  });

  it('reserves in the name of a router, with whatever identity that has', async () => {
    const { redis, asked } = client({ kvcReserve: 0 });
    const ledger = new RedisLedger(redis, { run: (reserve) => reserve({ routerId: 'a', epoch: 5 }) });
    await ledger.reserve(LEASE, 16);
    expect(asked).toEqual([['kvcReserve', ...ALL_KEYS, 7, 'l', 16, LEASE_TTL_MS, 'a', 5, RELEASED_TTL_MS]]);
  });

  it('refuses by the script’s answer', async () => {
    const { ledger } = client({ kvcReserve: ScriptCode.NoCapacity, kvcRelease: ScriptCode.StaleEpoch });
    await expect(ledger.reserve(LEASE, 1)).rejects.toEqual(refused('NO_CAPACITY'));
    await expect(ledger.release(LEASE)).rejects.toEqual(refused('STALE_EPOCH'));
  });

  it('reads an account, and none of a worker that is not there', async () => {
    const there = client({ kvcAccount: ['7', '80', '16', '24', 2] });
    expect(await there.ledger.account('w1')).toEqual({
      ...{ workerId: 'w1', epoch: 7, capacityPages: 80, reservedPages: 16, committedPages: 24, leases: 2 },
    });
    expect(there.asked).toEqual([['kvcAccount', info, leases]]);
    expect(await client({ kvcAccount: null }).ledger.account('w1')).toBeUndefined();
  });

  it('asks Redis nothing about ids that would leave their hash slot, and numbers that are no counts', async () => {
    const { ledger, asked } = client({});
    const wrong = [
      ledger.reserve({ ...LEASE, workerId: 'a}:b' }, 1),
      ledger.reserve({ ...LEASE, workerId: '' }, 1),
      ledger.reserve({ ...LEASE, workerId: 'w'.repeat(65) }, 1),
      ledger.account('a b'),
      ledger.reserve(LEASE, -1),
      ledger.commit(LEASE, 1.5),
      ledger.extend(LEASE, NaN),
      ledger.release({ ...LEASE, epoch: -1 }),
      ledger.reserve(LEASE, 1, Infinity),
    ];
    for (const verb of wrong) await expect(verb).rejects.toEqual(refused('INTERNAL'));
    expect(asked).toEqual([]);
  });
});

describe('the registry in Redis', () => {
  const announced = (kind: string, epoch: number, load: string) => [
    ...['kvcAnnounce', members, loads, wanted, kind, 'w1', epoch, load],
    ...[MOST_ANNOUNCEMENTS, ANNOUNCED_TTL_MS],
  ];

  it('writes a worker with its times to live, then announces it', async () => {
    const { registry, asked } = client({ kvcRegister: 9, kvcAnnounce: 1 });
    expect(await registry.register(WORKER, LOAD, BY)).toEqual({ epoch: 9 });
    const [, ...args] = asked[0] ?? [];
    const [instanceId, heldEpoch, descriptor, ...rest] = args.slice(ALL_KEYS.length);
    expect([args.slice(0, ALL_KEYS.length), instanceId, heldEpoch]).toEqual([ALL_KEYS, 'i', 3]);
    expect(JSON.parse(String(descriptor))).toMatchObject({ workerId: 'w1' });
    expect(rest).toEqual([80, HEARTBEAT_TTL_MS, EPOCH_TTL_MS]);
    expect(asked[1]).toEqual(announced('beat', 9, 'ready 1 2 90'));
  });

  it('announces nobody who was refused, or could not be read', async () => {
    const { registry, asked } = client({ kvcRegister: ScriptCode.StaleEpoch });
    await expect(registry.register(WORKER, LOAD, BY)).rejects.toEqual(refused('STALE_EPOCH'));
    expect(asked).toHaveLength(1);
    const wrong: Parameters<RedisRegistry['register']>[] = [
      [{ ...WORKER, workerId: 'a}' }, LOAD, BY],
      [{ ...WORKER, capacityPages: -1 }, LOAD, BY],
      [WORKER, LOAD, { ...BY, heldEpoch: 0.5 }],
      [WORKER, { ...LOAD, running: -1 }, BY],
    ];
    for (const args of wrong) await expect(registry.register(...args)).rejects.toThrow();
    const stranger = { ...WORKER, workerId: 'a}' };
    await expect(registry.heartbeat(stranger, 7, LOAD)).rejects.toEqual(refused('INTERNAL'));
    await expect(registry.freed('a}', 7, LOAD)).rejects.toEqual(refused('INTERNAL'));
    await expect(registry.deregister('a}', 7)).rejects.toEqual(refused('INTERNAL'));
    expect(asked).toHaveLength(1);
  });

  it('announces with each heartbeat the pages that a router can have', async () => {
    const { registry, asked } = client({ kvcHeartbeat: [30], kvcAnnounce: 1 });
    await registry.heartbeat(WORKER, 7, LOAD);
    expect(asked).toEqual([
      [
        'kvcHeartbeat',
        ...ALL_KEYS,
        7,
        80,
        HEARTBEAT_TTL_MS,
        EPOCH_TTL_MS,
        LEASE_TTL_MS,
        descriptorDigest(WORKER),
      ],
      announced('beat', 7, 'ready 1 2 30'),
    ]);
    const gone = client({ kvcHeartbeat: [ScriptCode.NoWorker] });
    await expect(gone.registry.heartbeat(WORKER, 7, LOAD)).rejects.toEqual(refused('NO_WORKER'));
    expect(gone.asked).toHaveLength(1);
  });

  it('asks with a heartbeat which routers have gone, and drops what these have reserved', async () => {
    const heartbeat = [30, 'a 5', 'b 6'];
    const { registry, asked } = client({
      ...{ kvcHeartbeat: heartbeat, kvcAbsent: ['b', '6'], kvcFence: 4, kvcAnnounce: 1 },
    });
    await registry.heartbeat(WORKER, 7, LOAD);
    expect(asked.slice(1)).toEqual([
      ['kvcAbsent', routers, ROUTER_TTL_MS, 'a', '5', 'b', '6'],
      ['kvcFence', ...ALL_KEYS, 7, RELEASED_TTL_MS, 'b', '6'],
      announced('beat', 7, 'ready 1 2 34'),
    ]);
    const all = client({ kvcHeartbeat: heartbeat, kvcAbsent: [], kvcAnnounce: 1 });
    await all.registry.heartbeat(WORKER, 7, LOAD);
    expect(all.asked.map(([name]) => name)).toEqual(['kvcHeartbeat', 'kvcAbsent', 'kvcAnnounce']);
  });

  it('registers routers', async () => {
    const { registry, asked } = client({ kvcEnlist: [9, 3, 'h:1', 'h:2'], kvcDelist: 0 });
    const by = { instanceId: 'i', heldEpoch: 3, refusedEpoch: 2 };
    expect(await registry.registerRouter('a', by)).toEqual({
      ...{ epoch: 9, routers: 3 },
      addresses: ['h:1', 'h:2'],
    });
    await registry.deregisterRouter('a', 9);
    expect(asked).toEqual([
      ['kvcEnlist', routers, 'a', 'i', 3, 2, ROUTER_TTL_MS, ROUTER_REMEMBERED_MS, ''],
      ['kvcDelist', routers, 'a', 9],
    ]);
    await expect(registry.registerRouter('a:b', by)).rejects.toEqual(refused('INTERNAL'));
    await expect(registry.registerRouter('a', { ...by, refusedEpoch: -1 })).rejects.toEqual(
      refused('INTERNAL'),
    );
    await expect(registry.deregisterRouter('a b', 9)).rejects.toEqual(refused('INTERNAL'));
    expect(asked).toHaveLength(2);
    const stale = client({ kvcEnlist: [ScriptCode.StaleRouter] });
    await expect(stale.registry.registerRouter('a', by)).rejects.toEqual(refused('STALE_ROUTER'));
  });

  it('announces pages given back, and none of another epoch', async () => {
    const { registry, asked } = client({ kvcAccount: ['7', '80', '16', '24', 2], kvcAnnounce: 1 });
    await registry.freed('w1', 7, LOAD);
    await registry.freed('w1', 6, LOAD);
    expect(asked.filter(([name]) => name === 'kvcAnnounce')).toEqual([announced('freed', 7, 'ready 1 2 40')]);
    const gone = client({ kvcAccount: null });
    await gone.registry.freed('w1', 7, LOAD);
    expect(gone.asked).toHaveLength(1);
  });

  it('announces that a worker has left, but none that another process has taken over', async () => {
    const left = client({ kvcDeregister: 0, kvcAnnounce: 1 });
    await left.registry.deregister('w1', 7);
    expect(left.asked).toEqual([['kvcDeregister', ...ALL_KEYS, 7], announced('left', 7, 'draining 0 0 0')]);
    const stale = client({ kvcDeregister: ScriptCode.StaleEpoch });
    await stale.registry.deregister('w1', 7);
    expect(stale.asked).toHaveLength(1);
  });
});
