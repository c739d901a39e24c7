import { workerDescriptor, workerLoad } from '@kvcapsule/testing/ports';
import { startServer, useRedis } from '@kvcapsule/testing/redis';
import { expect, it } from 'vitest';

import { createRedisClient, readLedger, RedisLedger, RedisRegistry } from './index.js';
import { workerKeys } from './keys.js';

const used = useRedis(startServer, ({ settings }) => createRedisClient(settings));

it('reads every worker’s account and leases, and changes nothing', async () => {
  const { client } = used;
  expect(await readLedger(client)).toEqual([]);
  const registry = new RedisRegistry(client);
  const epochs = new Map<string, number>();
  for (const workerId of ['w-10', 'w-2']) {
    const descriptor = workerDescriptor(workerId, { capacityPages: 100 });
    const by = { instanceId: workerId, heldEpoch: 0 };
    epochs.set(workerId, (await registry.register(descriptor, workerLoad(), by)).epoch);
  }
  const epoch = epochs.get('w-2') ?? 0;
  const { epoch: routerEpoch } = await registry.registerRouter('router-a', {
    ...{ instanceId: 'r', heldEpoch: 0, refusedEpoch: 0 },
  });
  const asRouter = new RedisLedger(client, {
    run: (verb) => verb({ routerId: 'router-a', epoch: routerEpoch }),
  });
  await asRouter.reserve({ workerId: 'w-2', epoch, leaseId: 'one' }, 7, 60_000);
  await new RedisLedger(client).commit({ workerId: 'w-2', epoch, leaseId: 'two' }, 30);

  const before = await client.hgetall(workerKeys('w-2').info);
  const views = await readLedger(client);
  expect(views.map(({ workerId }) => workerId)).toEqual(['w-2', 'w-10']);
  expect(views[0]).toMatchObject({ epoch, capacityPages: 100, reservedPages: 7, committedPages: 30 });
  const leases = [...(views[0]?.leases ?? [])].sort((a, b) => a.leaseId.localeCompare(b.leaseId));
  expect(leases).toMatchObject([
    { leaseId: 'one', state: 'reserved', pages: 7, router: 'router-a' },
    { leaseId: 'two', state: 'committed', pages: 30, router: undefined, expiresInMs: undefined },
  ]);
  expect(leases[0]?.expiresInMs).toBeGreaterThan(50_000);
  expect(leases[0]?.expiresInMs).toBeLessThanOrEqual(60_000);
  expect(views[1]?.leases).toEqual([]);
  expect(await client.hgetall(workerKeys('w-2').info)).toEqual(before);
});
