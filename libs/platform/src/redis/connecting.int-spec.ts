import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';

import {
  type Certificates,
  makeCertificates,
  type ServerOptions,
  startCluster,
  startServer,
  type Store,
} from '@kvcapsule/testing/redis';
import { afterAll, describe, expect, it } from 'vitest';

import { createRedisClient, RedisLedger, type RedisSettings } from './index.js';
import { RIGHTS } from './store-check.js';

const stores: Store[] = [];
const folder = mkdtempSync(join(tmpdir(), 'kvcapsule-connecting-'));
const certificates = makeCertificates();
const elsewhere = makeCertificates('DNS:redis.example');

afterAll(async () => {
  await Promise.all(stores.map((store) => store.stop()));
  for (const made of [certificates, elsewhere]) made.remove();
  rmSync(folder, { recursive: true });
});

async function start<S extends Store>(starting: Promise<S>): Promise<S> {
  const store = await starting;
  stores.push(store);
  return store;
}

const server = (options: ServerOptions = {}) => start(startServer(options));

/** What a start against it ends with. */
async function refusal(settings: RedisSettings): Promise<Error & { code: string }> {
  const opened = await createRedisClient(settings).catch(
    (error: unknown) => error as Error & { code: string },
  );
  if (opened instanceof Error) return opened;
  opened.disconnect();
  throw new Error('it was taken');
}

/** Whoever starts it sees host, cause and remedy in one line, and no secret anywhere. */
async function expectRefused(settings: RedisSettings, code: string, words: RegExp): Promise<void> {
  const error = await refusal(settings);
  expect(error.message).toMatch(words);
  expect(error.code).toBe(code);
  expect(error.message).toContain('127.0.0.1:');
  expect(error.message).not.toContain('\n');
  expect(inspect(error, { depth: 9, showHidden: true })).not.toContain('hunter2');
}

const withUser = (url: string, user: string) => url.replace('//', `//${user}@`);
const trusting = ({ ca, client }: Certificates) => ({
  ...{ redisCaFile: ca, redisCertFile: client.cert, redisKeyFile: client.key },
});
/** In plain words, to whoever it asks. */
const plain = (url: string) => url.replace('rediss:', 'redis:');

describe('a start is refused, with what to do', () => {
  it('where passwords and rights are not those of the store', async () => {
    const lines = ['user reader on >word ~kvc:v1:* -@all +info'];
    const { url } = await server({ password: 'word', lines });
    const open = url.replace(':word@', '');
    const store = 'LEDGER_UNAVAILABLE';
    await expectRefused({ redis: open }, store, /NOAUTH.*--redis-password-file/);
    await expectRefused({ redis: withUser(open, ':hunter2') }, store, /WRONGPASS.*user or the password/);
    await expectRefused({ redis: withUser(open, 'reader:word') }, store, /NOPERM.*docs\/guides\/redis\.md/);
  });

  it('where one right of many is missing, which is named', async () => {
    const rights = (without: readonly string[]) =>
      RIGHTS.filter((right) => !without.includes(right)).map((right) => `+${right}`);
    const lines = [
      ['user most on >word ~kvc:v1:* -@all', ...rights(['hincrby', 'xread'])],
      ['user elsewhere on >word ~kvc:v1:{registry}:* -@all', ...rights([])],
      ['user reader on >word %R~kvc:v1:* -@all', ...rights([])],
    ].map((words) => words.join(' '));
    const { url } = await server({ lines });
    const store = 'LEDGER_UNAVAILABLE';
    const lacks = (what: RegExp) => new RegExp(`${what.source}.*docs/guides/redis\\.md`);
    await expectRefused(
      { redis: withUser(url, 'most:word') },
      store,
      lacks(/hincrby, xread on keys of the ledger/),
    );
    await expectRefused({ redis: withUser(url, 'elsewhere:word') }, store, lacks(/hget, hmget/));
    await expectRefused({ redis: withUser(url, 'reader:word') }, store, lacks(/NOPERM/));
  });

  it('where a Sentinel asks for a password of its own, or nobody is there', async () => {
    const lines = ['sentinel monitor kvc 127.0.0.1 1 1'];
    const { server: sentinel } = await server({ password: 'word', isSentinel: true, lines });
    const store = 'LEDGER_UNAVAILABLE';
    const own = /--redis-sentinel-username, --redis-sentinel-password-file/;
    const redis = (ports: string) => `redis-sentinel://:other@${ports}/kvc`;
    const named = { redis: redis(`127.0.0.1:${sentinel.port}`) };
    await expectRefused(named, store, own);
    const redisSentinelPasswordFile = join(folder, 'wrong');
    writeFileSync(redisSentinelPasswordFile, 'hunter2');
    await expectRefused({ ...named, redisSentinelPasswordFile }, store, own);
    await expectRefused({ redis: redis('127.0.0.1:1,127.0.0.1:2') }, store, /nobody is there.*start it/);
    await expectRefused({ redis: 'redis-cluster://127.0.0.1:1' }, store, /nobody is there.*start it/);
  });

  it('where one side speaks TLS', async () => {
    const [secure, open] = await Promise.all([server({ certificates }), server()]);
    const store = 'LEDGER_UNAVAILABLE';
    await expectRefused({ redis: plain(secure.url) }, store, /use rediss:\/\//);
    const asked = { redis: open.url.replace('redis:', 'rediss:'), redisCaFile: certificates.ca };
    await expectRefused(asked, store, /use redis:\/\//);
  });

  it('where certificates are not to be trusted, or missing', async () => {
    const [secure, other] = await Promise.all([
      server({ certificates }),
      server({ certificates: elsewhere }).catch(() => undefined),
    ]);
    const store = 'LEDGER_UNAVAILABLE';
    await expectRefused({ redis: secure.url }, store, /--redis-ca-file/);
    await expectRefused({ redis: secure.url, redisCaFile: certificates.ca }, store, /--redis-cert-file/);
    const crossed = { ...trusting(certificates), redisKeyFile: elsewhere.client.key };
    await expectRefused({ redis: secure.url, ...crossed }, store, /do not belong together/);
    const untrusted = { redisCertFile: elsewhere.client.cert, redisKeyFile: elsewhere.client.key };
    const { pastClient } = certificates;
    const expired = { redisCertFile: pastClient.cert, redisKeyFile: pastClient.key };
    for (const shown of [untrusted, expired]) {
      const asked = { redis: secure.url, redisCaFile: certificates.ca, ...shown };
      await expectRefused(asked, store, /does not take the certificate of --redis-cert-file/);
    }
    const mistaken = { redis: other?.url ?? '', ...trusting(elsewhere) };
    await expectRefused(mistaken, store, /--redis-server-name/);
    (await createRedisClient({ ...mistaken, redisServerName: 'redis.example' })).disconnect();
  });

  it('where something else answers', async () => {
    const web = createHttp((_, response) => response.end('hello')).listen(0, '127.0.0.1');
    await once(web, 'listening');
    const { port } = web.address() as AddressInfo;
    await expectRefused({ redis: `redis://127.0.0.1:${port}` }, 'LEDGER_UNAVAILABLE', /HTTP server/);
    web.close();
  });

  it('where servers are arranged in another way than the URL says', async () => {
    const [alone, cluster] = await Promise.all([server(), start(startCluster())]);
    const replica = await server({ lines: [`replicaof 127.0.0.1 ${alone.server.port}`] });
    const sentinel = await server({
      ...{ isSentinel: true, lines: [`sentinel monitor kvc 127.0.0.1 ${alone.server.port} 1`] },
    });
    const node = `redis://127.0.0.1:${cluster.servers[0]?.port}`;
    const as = (kind: string, { url }: Store) => url.replace('redis:', `redis-${kind}:`);
    await expectRefused({ redis: node }, 'CONFIG_INVALID', /use redis-cluster:/);
    await expectRefused({ redis: replica.url }, 'LEDGER_UNAVAILABLE', /is a replica/);
    await expectRefused({ redis: sentinel.url }, 'CONFIG_INVALID', /is a Sentinel/);
    await expectRefused({ redis: as('cluster', alone) }, 'LEDGER_UNAVAILABLE', /no node of a Redis Cluster/);
    await expectRefused({ redis: `${as('sentinel', alone)}/kvc` }, 'LEDGER_UNAVAILABLE', /no Sentinel/);
    const other = { redis: `${as('sentinel', sentinel)}/other` };
    await expectRefused(other, 'LEDGER_UNAVAILABLE', /no servers of that name/);
  });

  it('where it removes keys, and is not where it does not say so', async () => {
    const lines = [
      'user teller on >word ~kvc:v1:* +@all -info',
      'user silent on >word ~kvc:v1:* +@all -info -config',
    ];
    const { server: redis, url } = await server({ password: 'word', lines });
    await redis.say('CONFIG SET maxmemory-policy volatile-lru');
    const open = url.replace(':word@', '');
    const words = /volatile-lru.*CONFIG SET maxmemory-policy noeviction/;
    await expectRefused({ redis: url }, 'CONFIG_INVALID', words);
    await expectRefused({ redis: withUser(open, 'teller:word') }, 'CONFIG_INVALID', words);
    const warnings: string[] = [];
    const silent = { redis: withUser(open, 'silent:word') };
    (await createRedisClient(silent, (line) => warnings.push(line))).disconnect();
    expect(warnings).toEqual([expect.stringContaining('maxmemory-policy')]);
  });

  it('where a file of secrets cannot be read', async () => {
    await expect(
      createRedisClient({ redis: 'redis://127.0.0.1:1', redisPasswordFile: join(folder, 'none') }),
    ).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

it('says what to do of a right that is taken away from one that runs', async () => {
  const { server: redis, url } = await server({ lines: ['user one on >word ~kvc:v1:* +@all'] });
  const client = await createRedisClient(withUser(url, 'one:word'));
  await redis.say('ACL SETUSER one -get');
  const reserved = new RedisLedger(client).reserve({ workerId: 'w', epoch: 1, leaseId: 'l' }, 1);
  await expect(reserved).rejects.toThrow(/docs\/guides\/redis\.md/);
  client.disconnect();
});

it('takes a password from a file', async () => {
  const { url } = await server({ password: 'hunter2' });
  writeFileSync(join(folder, 'password'), 'hunter2\n');
  const settings = { redis: url.replace(':hunter2@', ''), redisPasswordFile: join(folder, 'password') };
  (await createRedisClient(settings)).disconnect();
});
