import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { Redis } from 'ioredis';
import { expect, it } from 'vitest';

import { createRedisClient } from '../redis/index.js';
import { startRedis } from './index.js';

it('listens on loopback, keeps nothing on disk and asks for its password', async () => {
  const server = await startRedis();
  const client = await createRedisClient(server.url);
  expect(await client.config('GET', 'bind')).toEqual(['bind', '127.0.0.1']);
  expect(await client.config('GET', 'save')).toEqual(['save', '']);
  expect(await client.config('GET', 'appendonly')).toEqual(['appendonly', 'no']);
  expect(await client.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
  client.disconnect();
  const stranger = new Redis(server.port, '127.0.0.1', { retryStrategy: () => null });
  stranger.on('error', () => undefined);
  await expect(stranger.get('key')).rejects.toThrow(/NOAUTH|closed/);
  stranger.disconnect();
  await server.stop();
});

it('starts again, empty, at the address of one that has ended', async () => {
  const first = await startRedis();
  const client = await createRedisClient(first.url);
  await client.set('key', 'value');
  client.disconnect();
  const ended = new Promise<void>((resolve) => first.onExit(resolve));
  await first.kill();
  await ended;
  await first.stop();
  const second = await startRedis(first);
  expect(second.url).toBe(first.url);
  const again = await createRedisClient(second.url);
  expect(await again.get('key')).toBeNull();
  again.disconnect();
  await second.stop();
});

it('is ended also where it hangs', async () => {
  const server = await startRedis();
  process.kill(server.pid, 'SIGSTOP');
  await server.stop();
  expect(isAlive(server.pid)).toBe(false);
});

it('dies with its parent, however that ends', async () => {
  const script = `
    import { startRedis } from '@kvcapsule/platform/redis-server';
    console.log((await startRedis()).pid);
  `;
  const parent = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: new URL('../..', import.meta.url),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(line.toString());
  expect(isAlive(pid)).toBe(true);
  parent.kill('SIGKILL');
  const deadline = Date.now() + 5_000;
  while (isAlive(pid)) {
    expect(Date.now()).toBeLessThan(deadline);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}, 180_000);

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
