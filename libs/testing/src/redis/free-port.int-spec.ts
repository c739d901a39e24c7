import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { freePort } from './free-port.js';

it('gives each port once, below those of connections, and none that is taken', async () => {
  const first = await freePort();
  const taken = createServer().listen(first + 1, '127.0.0.1');
  await once(taken, 'listening');
  try {
    expect(await freePort()).toBe(first + 2);
    expect(await freePort()).toBe(first + 3);
    expect(first).toBeLessThan(32_768);
  } finally {
    taken.close();
  }
});

it('gives those who ask at one time different ones', async () => {
  const ports = await Promise.all(Array.from({ length: 20 }, () => freePort()));
  expect(new Set(ports).size).toBe(20);
});
