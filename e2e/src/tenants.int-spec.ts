import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ask, Cluster, quiet, until } from './harness.js';

const KEYS = { noisy: 'key-of-the-noisy-one', quiet: 'key-of-the-quiet-one' };

let folder: string;
let cluster: Cluster;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'kvc-tenants-'));
  const file = join(folder, 'tenants.json');
  const tenants = Object.entries(KEYS).map(([name, key]) => {
    return { name, keySha256: [createHash('sha256').update(key).digest('hex')] };
  });
  writeFileSync(file, JSON.stringify({ tenants }));
  cluster = await Cluster.start({
    workerArgs: ['--pool-mib', '64', '--max-running', '2'],
    routerArgs: ['--tenants', file],
  });
});
afterAll(async () => {
  await cluster.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function answer(tenant: keyof typeof KEYS, tokens: number, signal?: AbortSignal): Promise<number> {
  const body = { model: 'emoji-vlm', max_tokens: tokens, ignore_eos: true, messages: [ask('Hello!')] };
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${KEYS[tenant]}` };
  const response = await cluster.chat(body, { headers, ...(signal && { signal }) });
  await response.text();
  return response.status;
}

it('a quiet tenant passes the line of another where a worker runs few requests at a time, with pages to spare', async () => {
  let ended = 0;
  const line = Array.from({ length: 24 }, async () => {
    expect(await answer('noisy', 150)).toBe(200);
    ended += 1;
  });
  await until(() => ended >= 3, 60_000);
  const before = ended;
  expect(await answer('quiet', 4)).toBe(200);
  // those that were sent ahead of it, and the next in turn
  expect(ended - before).toBeLessThan(7);
  await Promise.all(line);
  await sleep(100);
  await quiet(cluster);
}, 120_000);

it('a quiet tenant is answered beside long answers of another that all began together, before the first one ends', async () => {
  const leaving = new AbortController();
  let ended = 0;
  const line = Array.from({ length: 5 }, () =>
    answer('noisy', 7_000, leaving.signal).then(
      () => (ended += 1),
      () => undefined,
    ),
  );
  await until(async () => (await cluster.workerMetric(0, 'kvcapsule_worker_requests_running')) >= 2, 60_000);
  for (let request = 0; request < 3; request += 1) expect(await answer('quiet', 4)).toBe(200);
  expect(ended).toBe(0);
  leaving.abort();
  await Promise.all(line);
  await quiet(cluster);
}, 120_000);
