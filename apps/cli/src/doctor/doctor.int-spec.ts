import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRedisClient } from '@kvcapsule/platform/redis';
import { type RedisServer, startRedis } from '@kvcapsule/platform/redis-server';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_MODEL_DIR, ROOT } from '../paths.js';
import type { Finding } from './finding.js';
import { modelFindings } from './model.js';
import { portFindings } from './ports.js';
import { redisFindings } from './redis.js';

const MAIN = join(ROOT, 'apps/cli/dist/main.js');

async function doctor(...args: readonly string[]): Promise<{ code: number; text: string }> {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('KVCAPSULE_REDIS')),
  );
  const child = spawn(process.execPath, [MAIN, 'doctor', ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data: Buffer) => (text += data.toString()));
  const [code] = (await once(child, 'close')) as [number];
  return { code, text };
}

const faults = (found: readonly Finding[]) => found.filter(({ level }) => level === 'fail');

describe('doctor', () => {
  let redis: RedisServer;
  let folder: string;
  beforeAll(async () => {
    redis = await startRedis();
    folder = mkdtempSync(join(tmpdir(), 'kvc-doctor-'));
  });
  afterAll(async () => {
    await redis.stop();
    rmSync(folder, { recursive: true });
  });

  it('finds nothing at fault where `up` runs, and ends with 0', async () => {
    const { code, text } = await doctor('--port', '0');
    expect(text).toMatch(/ok {4}kernels +cpu-\w+/);
    expect(text).toMatch(/ok {4}profile +\S+: capsule/);
    expect(text).toMatch(/ok {4}redis-server +\d/);
    expect(text).toMatch(/, 0 at fault\n$/);
    expect(code).toBe(0);
  });

  it('tells version, policy, rights and clock of a store, and never its password', async () => {
    const { text } = await doctor('--json', '--port', '0', '--redis', redis.url);
    expect(text).not.toContain(new URL(redis.url).password);
    const { findings: found } = JSON.parse(text) as { findings: Finding[] };
    const store = found.filter(({ group }) => group === 'Redis');
    expect(store.map(({ name, level }) => `${name} ${level}`)).toEqual(
      ['connection', 'rights', 'version', 'policy', 'memory', 'persistence', 'clock'].map(
        (name) => `${name} ok`,
      ),
    );
    expect(store.find(({ name }) => name === 'persistence')?.found).toContain('off');
  });

  it('says what is wrong with a store: nobody there, an evicting one, rights that are missing', async () => {
    const [gone] = faults(await redisFindings('redis://127.0.0.1:1'));
    expect(gone).toMatchObject({ group: 'Redis', name: 'connection' });
    expect(gone?.advice).toContain('--redis');
    const client = await createRedisClient(redis.url);
    await client.config('SET', 'maxmemory-policy', 'allkeys-lru');
    await client.acl('SETUSER', 'poor', 'on', '>word', '~kvc:v1:*', '-@all', '+info', '+eval', '+evalsha');
    expect(faults(await redisFindings(redis.url))[0]?.advice).toMatch(/^Set maxmemory-policy noeviction/);
    await client.config('SET', 'maxmemory-policy', 'noeviction');
    const poor = `redis://poor:word@127.0.0.1:${String(redis.port)}`;
    expect(faults(await redisFindings(poor))[0]?.advice).toContain('ocs/guides/redis.md');
    client.disconnect();
  });

  it('says what is wrong with a model, its profile, or the memory for it', async () => {
    const model = join(folder, 'model');
    cpSync(DEFAULT_MODEL_DIR, model, { recursive: true });
    truncateSync(join(model, 'profiles', 'capsule-r40.safetensors'), 4096);
    expect(faults(await modelFindings(model, 2 ** 40))).toMatchObject([
      { group: 'model model', name: 'profile' },
    ]);
    truncateSync(join(model, 'model.safetensors'), 4096);
    expect(faults(await modelFindings(model, 2 ** 40))).toMatchObject([{ name: 'folder' }]);
    expect(faults(await modelFindings(DEFAULT_MODEL_DIR, 2 ** 20))).toMatchObject([{ name: 'memory' }]);
  });

  it('says which port is taken, and ends with 1', async () => {
    const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { code, text } = await doctor('--port', String(port));
    expect(text).toMatch(/fail {2}127\.0\.0\.1:\d+ .*is taken\.\n +→ Choose another/);
    expect(code).toBe(1);
    server.close();
  });

  it('tells a router that answers there, on IPv6 too, from any other server', async () => {
    const reasons: string[] = [];
    let answer: unknown = { status: 'degraded', reasons };
    const server = createHttpServer((_, response) => response.end(JSON.stringify(answer))).listen(0, '::1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    expect(await portFindings('::1', port)).toMatchObject([
      { name: `[::1]:${String(port)}`, level: 'ok', found: 'a router answers there: degraded' },
    ]);
    for (answer of [{ status: 'ok', reasons }, { status: 'ready' }, 'ready'])
      expect(await portFindings('::1', port)).toMatchObject([{ level: 'fail' }]);
    server.close();
  });
});
