// What a router spends on a cluster of a thousand workers whose heartbeats come every two seconds: CPU and bytes a
// second of following the registry alone, in a process that does nothing else; and how long it takes from a worker that
// has given pages back to a router whose requests wait for some.
//
// Usage: node bench/registry.mjs [--workers 1000] [--seconds 20] [--out FILE]
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseOptions } from './options.mjs';
import { quantile } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const HEARTBEAT_MS = 2_000;
const load = (path) => import(join(ROOT, path));
const { createRedisClient, RedisRegistry } = await load('libs/platform/dist/redis/index.js');
const { startRedis } = await load('libs/platform/dist/redis-server/index.js');

const descriptor = (index) => ({
  ...{ workerId: `worker-${index}`, address: `127.0.0.1:${10_000 + index}`, modelId: 'm' },
  ...{ modelRevision: 'a'.repeat(64), processorRevision: 'b'.repeat(64), arithmetic: 'cpu-avx2-1' },
  ...{ precision: 'f16/f16', imageProcessor: 'c'.repeat(64), contextTokens: 8_192, blockTokens: 16 },
  ...{
    pagesPerBlock: 8,
    pageBytes: 6_144,
    capacityPages: 100_000,
    maxRunning: 64,
    codec: 'raw',
    profileId: '',
  },
  ...{ codecs: ['raw', 'q8'], formats: [] },
});

/** Heartbeats, evenly spread over their interval; each says something else. */
async function beat(url, workers) {
  const registry = new RedisRegistry(await createRedisClient(url));
  const all = Array.from({ length: workers }, (_, index) => descriptor(index));
  const loadOf = (turn) => ({
    state: 'ready',
    running: turn % 7,
    waiting: turn % 3,
    freePages: 50_000 + turn,
  });
  const by = { instanceId: 'bench', heldEpoch: 0 };
  const beating = (index, epoch) => {
    let turn = index;
    const say = () =>
      void registry.heartbeat(all[index], epoch, loadOf((turn += 1))).catch((error) => {
        console.error(error.message);
      });
    setTimeout(() => setInterval(say, HEARTBEAT_MS), (index / workers) * HEARTBEAT_MS);
  };
  // a few at a time, and each begins to beat at once
  for (let from = 0; from < workers; from += 100) {
    const some = all.slice(from, from + 100);
    const registered = await Promise.all(some.map((worker) => registry.register(worker, loadOf(0), by)));
    registered.forEach(({ epoch }, place) => beating(from + place, epoch));
  }
  process.send('ready');
}

async function cpuOfSecond() {
  const before = process.cpuUsage();
  const beganMs = performance.now();
  await sleep(1_000);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / (performance.now() - beganMs);
}

const WAKES = 200;

/** Ms from a worker's word that pages are free to a router that waits for some, over other connections. */
async function wakes(url, following, heard) {
  const client = await createRedisClient(url);
  const registry = new RedisRegistry(client);
  const { workerId, epoch, load } = heard.first;
  const times = [];
  for (let wake = 0; wake < WAKES; wake += 1) {
    following.want();
    // what it wants is written before anybody gives pages back
    await sleep(20);
    const woken = new Promise((resolve) => (heard.woken = resolve));
    const beganMs = performance.now();
    await Promise.all([registry.freed(workerId, epoch, load), woken]);
    times.push(performance.now() - beganMs);
  }
  client.disconnect();
  const at = (share) => Number(quantile(times, share).toFixed(2));
  return { median: at(0.5), p90: at(0.9), p99: at(0.99) };
}

/** A router's part, for so long; what it took a second. */
async function follow(url, seconds) {
  const heard = { workers: new Set(), first: undefined, told: 0, reads: 0, woken: () => undefined };
  const client = await createRedisClient(url);
  const following = await new RedisRegistry(client).follow({
    heard: ({ told, freed }) => {
      heard.reads += 1;
      heard.told += told.length;
      for (const { workerId } of told) heard.workers.add(workerId);
      heard.first ??= told[0];
      if (freed) heard.woken();
    },
    missed: (error) => {
      throw error;
    },
  });
  await sleep(5_000);
  const sockets = process._getActiveHandles();
  const bytes = () =>
    sockets.reduce((sum, { bytesRead = 0, bytesWritten = 0 }) => sum + bytesRead + bytesWritten, 0);
  const before = { ...heard, bytes: bytes(), atMs: performance.now() };
  const cpu = [];
  for (let second = 0; second < seconds; second += 1) cpu.push(await cpuOfSecond());
  const passed = (performance.now() - before.atMs) / 1_000;
  const each = (value) => Number((value / passed).toFixed(2));
  const cpuAt = (share) => Number(quantile(cpu, share).toFixed(2));
  const result = {
    workers: heard.workers.size,
    // of the seconds: on a machine that does other things too the least of them is nearest to what it costs
    cpuMsPerSecond: { least: cpuAt(0), q1: cpuAt(0.25), median: cpuAt(0.5), q3: cpuAt(0.75) },
    kilobytesPerSecond: each((bytes() - before.bytes) / 1_000),
    announcementsPerSecond: each(heard.told - before.told),
    readsPerSecond: each(heard.reads - before.reads),
    gaps: following.figures.gaps,
    wakeMs: await wakes(url, following, heard),
  };
  await following.stop();
  client.disconnect();
  return result;
}

const [role, url, ...rest] = process.argv.slice(2);
if (role === 'beat') await beat(url, Number(rest[0]));
else if (role === 'follow') process.send(await follow(url, Number(rest[0])));
else {
  const { values } = parseOptions({
    options: {
      workers: { type: 'string', default: '1000' },
      seconds: { type: 'string', default: '20' },
      out: { type: 'string' },
    },
  });
  const { workers, seconds, out } = values;
  const redis = await startRedis();
  const part = async (...args) => {
    const child = fork(import.meta.filename, args);
    return { child, said: (await once(child, 'message'))[0] };
  };
  const beating = await part('beat', redis.url, workers);
  const { said } = await part('follow', redis.url, seconds);
  beating.child.kill('SIGKILL');
  await redis.kill();
  const report = { machine: cpus()[0]?.model, load: loadavg(), heartbeatMs: HEARTBEAT_MS, ...said };
  console.log(JSON.stringify(report, undefined, 2));
  if (out) writeFileSync(out, `${JSON.stringify(report, undefined, 2)}\n`);
  process.exit(0);
}
