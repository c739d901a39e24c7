import type { KvcError } from '@kvcapsule/contracts';
import { EPOCH_TTL_MS, LEASE_TTL_MS, MOST_RELEASED, RELEASED_TTL_MS } from '@kvcapsule/domain/ledger';
import { HEARTBEAT_TTL_MS } from '@kvcapsule/domain/registry';
import { workerDescriptor, workerLoad } from '@kvcapsule/testing/ports';
import { describe, expect, it } from 'vitest';

import type { RedisClient } from './scripts.js';
import { REGISTRY_KEY, workerKeys } from './keys.js';
import { RedisLedger } from './ledger.adapter.js';
import { RedisRegistry } from './registry.adapter.js';
import { ScriptCode } from './script-codes.js';
import { keys5 } from './scripts.js';

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
      ['kvcReserve', ...KEYS, 7, 'l', 16, LEASE_TTL_MS],
      ['kvcReserve', ...KEYS, 7, 'l', 16, 50],
      ['kvcCommit', ...KEYS, 7, 'l', 17],
      ['kvcExtend', ...KEYS, 7, 'l', 18],
      ['kvcRelease', ...KEYS, 7, 'l', RELEASED_TTL_MS, MOST_RELEASED],
    ]);
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
  it('writes a worker with its times to live, then lists it', async () => {
    const { registry, asked } = client({ kvcRegister: 9, kvcEnlist: 1 });
    expect(await registry.register(WORKER, LOAD, BY)).toEqual({ epoch: 9 });
    const [, ...args] = asked[0] ?? [];
    const [instanceId, heldEpoch, descriptor, load, ...rest] = args.slice(KEYS.length);
    expect([args.slice(0, KEYS.length), instanceId, heldEpoch]).toEqual([KEYS, 'i', 3]);
    expect(JSON.parse(String(descriptor))).toMatchObject({ workerId: 'w1' });
    expect(JSON.parse(String(load))).toEqual(LOAD);
    expect(rest).toEqual([80, HEARTBEAT_TTL_MS, EPOCH_TTL_MS]);
    expect(asked[1]).toEqual(['kvcEnlist', REGISTRY_KEY, 'w1']);
  });

  it('lists nobody who was refused, or could not be read', async () => {
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
    await expect(registry.heartbeat('a}', 7, LOAD)).rejects.toEqual(refused('INTERNAL'));
    await expect(registry.deregister('a}', 7)).rejects.toEqual(refused('INTERNAL'));
    expect(asked).toHaveLength(1);
  });

  it('lists a worker again that has been taken off the list while it lives', async () => {
    const { registry, asked } = client({ kvcHeartbeat: 0, kvcEnlist: 1 });
    await registry.heartbeat('w1', 7, LOAD);
    expect(asked.map(([name]) => name)).toEqual(['kvcHeartbeat', 'kvcEnlist']);
    expect(asked[0]).toEqual([
      ...['kvcHeartbeat', ...KEYS, 7, JSON.stringify(LOAD), HEARTBEAT_TTL_MS, EPOCH_TTL_MS],
    ]);
    const gone = client({ kvcHeartbeat: ScriptCode.NoWorker });
    await expect(gone.registry.heartbeat('w1', 7, LOAD)).rejects.toEqual(refused('NO_WORKER'));
    expect(gone.asked).toHaveLength(1);
  });

  it('leaves a worker on the list that another process has taken over', async () => {
    const left = client({ kvcDeregister: 0, srem: 1 });
    await left.registry.deregister('w1', 7);
    expect(left.asked).toEqual([
      ['kvcDeregister', ...KEYS, 7],
      ['srem', REGISTRY_KEY, 'w1'],
    ]);
    const stale = client({ kvcDeregister: ScriptCode.StaleEpoch });
    await stale.registry.deregister('w1', 7);
    expect(stale.asked).toHaveLength(1);
  });

  it('reads a descriptor once an epoch, and lists workers by their ids', async () => {
    let listed = ['w2', 'w3', 'w1'];
    let hash: Record<string, string | null> = {
      ...{ epoch: '7', load: JSON.stringify(LOAD), descriptor: JSON.stringify({ ...WORKER, formats: [] }) },
    };
    const { registry, asked } = client({
      smembers: () => listed,
      hmget: (key: string, ...fields: string[]) =>
        fields.map((field) => {
          const value = hash[field] ?? null;
          return field === 'descriptor' && key !== info
            ? (value?.replace('"w1"', `"${key.slice(-2)}"`) ?? null)
            : value;
        }),
    });
    const fields = () =>
      asked.splice(0).flatMap(([name, , ...rest]) => (name === 'hmget' ? [rest.length] : []));
    expect((await registry.list()).map(({ workerId }) => workerId)).toEqual(['w1', 'w2', 'w3']);
    expect(fields()).toEqual([2, 2, 2, 3, 3, 3]);
    hash = { ...hash, load: JSON.stringify({ ...LOAD, running: 2 }) };
    expect((await registry.list()).map(({ load }) => load.running)).toEqual([2, 2, 2]);
    expect(fields()).toEqual([2, 2, 2]);
    hash = { ...hash, epoch: '8' };
    expect((await registry.list()).map((record) => record.epoch)).toEqual([8, 8, 8]);
    expect(fields()).toEqual([2, 2, 2, 3, 3, 3]);
    // of one that has gone nothing is kept
    listed = [];
    expect(await registry.list()).toEqual([]);
    listed = ['w1'];
    await registry.list();
    expect(fields()).toEqual([2, 3]);
  });

  it.each(['epoch', 'load', 'descriptor'])('takes a worker off the list without its %s', async (missing) => {
    const { registry, asked } = client({
      ...{ smembers: ['w1'], srem: 1 },
      hmget: (_key: string, ...fields: string[]) =>
        fields.map((field) => (field === missing ? null : field === 'epoch' ? '7' : '{}')),
    });
    expect(await registry.list()).toEqual([]);
    expect(asked.at(-1)).toEqual(['srem', REGISTRY_KEY, 'w1']);
    // a descriptor is asked for only of one that lives
    expect(asked.filter(([name]) => name === 'hmget')).toHaveLength(missing === 'descriptor' ? 2 : 1);
  });

  it.each(['epoch', 'load'])(
    'takes a worker off the list whose %s goes between two reads',
    async (missing) => {
      const { registry, asked } = client({
        ...{ smembers: ['w1'], srem: 1 },
        hmget: (_key: string, ...fields: string[]) =>
          fields.map((field) => (field === missing && fields.length === 3 ? null : '7')),
      });
      expect(await registry.list()).toEqual([]);
      expect(asked.at(-1)).toEqual(['srem', REGISTRY_KEY, 'w1']);
    },
  );
});
