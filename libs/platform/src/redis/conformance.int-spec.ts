import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import type { ReservingRouter } from '@kvcapsule/domain/ledger';
import { ledgerConformance, registryConformance } from '@kvcapsule/testing/ports';
import {
  makeCertificates,
  startCluster,
  startServer,
  type Store,
  useRedis,
  valkeyServer,
} from '@kvcapsule/testing/redis';
import { afterAll, describe } from 'vitest';

import {
  createRedisClient,
  type RedisClient,
  RedisLedger,
  RedisRegistry,
  type RedisSettings,
} from './index.js';

/** The user that the guide tells to make, as a line of Redis' configuration. */
const GUIDE = readFileSync(new URL('../../../../docs/guides/redis.md', import.meta.url), 'utf8');
const USER = /^ACL SETUSER (kvcapsule .*)$/m.exec(GUIDE)?.[1]?.replace('PASSWORD', 'hunter2') ?? '';

interface Kind {
  readonly name: string;
  start(): Promise<Store>;
  settings(url: string): RedisSettings;
}

const certificates = makeCertificates();
afterAll(() => {
  certificates.remove();
});

const KINDS: readonly Kind[] = [
  { name: 'one server', start: startServer, settings: (url) => ({ redis: url }) },
  {
    name: 'Valkey',
    start: async () => startServer({ program: await valkeyServer() }),
    settings: (url) => ({ redis: url }),
  },
  { name: 'a Cluster', start: startCluster, settings: (url) => ({ redis: url }) },
  {
    name: 'a server with TLS, certificates, and a user of few rights',
    start: () => startServer({ certificates, password: 'admin', lines: [`user ${USER}`] }),
    settings: (url) => ({
      redis: url.replace(':admin@', 'kvcapsule:hunter2@'),
      ...{ redisCaFile: certificates.ca, redisCertFile: certificates.client.cert },
      redisKeyFile: certificates.client.key,
    }),
  },
];

describe.each(KINDS)('$name', ({ start, settings }) => {
  const redis = useRedis<Store, RedisClient>(start, ({ url }) => createRedisClient(settings(url)));
  const make = async () => {
    await Promise.all(redis.store.servers.map((server) => server.say('FLUSHALL')));
    return {
      registry: new RedisRegistry(redis.client),
      ledger: new RedisLedger(redis.client),
      ledgerOf: (router: ReservingRouter) => new RedisLedger(redis.client, router),
      pass: (ms: number) => sleep(ms),
    };
  };

  ledgerConformance(make);
  registryConformance(make);
});
