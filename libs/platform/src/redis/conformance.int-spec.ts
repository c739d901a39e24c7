import { setTimeout as sleep } from 'node:timers/promises';

import { ledgerConformance, registryConformance } from '@kvcapsule/testing/ports';
import { afterAll, beforeAll } from 'vitest';

import { startRedis, type RedisServer } from '../redis-server/index.js';
import { createRedisClient, type RedisClient, RedisLedger, RedisRegistry } from './index.js';

let server: RedisServer;
let client: RedisClient;

beforeAll(async () => {
  server = await startRedis();
  client = await createRedisClient(server.url);
});

afterAll(async () => {
  client.disconnect();
  await server.stop();
});

const make = async () => {
  await client.flushdb();
  return {
    registry: new RedisRegistry(client),
    ledger: new RedisLedger(client),
    pass: (ms: number) => sleep(ms),
  };
};

ledgerConformance(make);
registryConformance(make);
