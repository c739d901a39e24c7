// What a router costs as its cluster grows: beside 10, 100 and 1,000 simulated workers on a real Redis. Workers speak
// the real protocol and only pretend to compute (docs/guides/simulation.md); router, Redis and workers are processes of
// their own, and all that the router and Redis say to each other goes through a proxy that counts it.
//   idle       nobody asks: bytes a second between Redis and router, CPU of router, Redis and workers
//   request    a line of text, one token back, one after the other: CPU of the router, time until the answer
//   decision   the placement policy alone, in this process over the workers' own records; loads differ
//
// Usage: node bench/cluster-scale.mjs [--workers 10,100,1000] [--idle 20] [--requests 200] [--rounds 3] [--out PATH]
//   writes PATH.json and PATH.html; ./kvcapsule up (or tsc -b) has to have built everything once
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { pagesByClass, place, policyOf, storageClass } from '@kvcapsule/domain/placement';
import { createRedisClient, RedisRegistry } from '@kvcapsule/platform/redis';
import { startRedis } from '@kvcapsule/platform/redis-server';
import { linesPlot, renderHtml, renderMarkdown } from '@kvcapsule/reporting';
import { workersOf } from '@kvcapsule/testing/ports';
import { parseOptions } from './options.mjs';
import { quantile, roundedSpread } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const MODEL_DIR = join(ROOT, 'deploy/models/emoji-vlm');
const { values } = parseOptions({
  options: {
    workers: { type: 'string', default: '10,100,1000' },
    idle: { type: 'string', default: '20' },
    requests: { type: 'string', default: '200' },
    rounds: { type: 'string', default: '3' },
    out: { type: 'string', default: join(ROOT, 'bench/results/cluster-scale') },
  },
});
const sizes = values.workers.split(',').map(Number);
const [idleSeconds, requests, rounds] = [values.idle, values.requests, values.rounds].map(Number);
const DECISIONS = 2_000;
/** The workers have been seen, and what their coming cost is over. */
const SETTLE_MS = 10_000;
const CLOCK_TICKS = Number(execFileSync('getconf', ['CLK_TCK']).toString());

/** Passes everything on and counts it. */
async function countingProxy(port) {
  const counted = { toRouter: 0, fromRouter: 0 };
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    far.on('data', ({ length }) => (counted.toRouter += length));
    near.on('data', ({ length }) => (counted.fromRouter += length));
    near.pipe(far).pipe(near);
    for (const socket of [near, far]) socket.on('error', () => [near, far].forEach((each) => each.destroy()));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { counted, port: server.address().port, close: () => server.close() };
}

function startPart(args, env = {}) {
  const child = spawn(process.execPath, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  // a failed run leaves nothing behind
  process.once('exit', () => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout });
  return { child, lines, pid: child.pid };
}

async function lineThat(lines, matches) {
  for await (const line of lines) if (matches(line)) return line;
  throw new Error('a part ended before it was ready');
}

async function stopPart({ child }) {
  child.kill('SIGTERM');
  if (child.exitCode === null) await once(child, 'exit');
}

/** Of all its threads, in ms so far. */
function cpuMs(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / CLOCK_TICKS;
}

async function metric(url, name) {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
}

async function cluster(workers) {
  const redis = await startRedis();
  const simulation = startPart(
    [join(ROOT, 'apps/cli/dist/main.js'), 'simulate', '--workers', String(workers), '--speedup', '20'],
    { KVCAPSULE_REDIS: redis.url },
  );
  await lineThat(simulation.lines, (line) => line.startsWith('Stop:'));
  const proxy = await countingProxy(redis.port);
  const router = startPart([join(ROOT, 'apps/router/dist/main.js'), '--port', '0', '--model', MODEL_DIR], {
    KVCAPSULE_REDIS: redis.url.replace(`:${redis.port}`, `:${proxy.port}`),
  });
  const { url } = JSON.parse(await lineThat(router.lines, (line) => line.startsWith('{"event":"ready"')));
  while ((await metric(url, 'kvcapsule_router_workers')) < workers) await sleep(200);
  await sleep(SETTLE_MS);
  const stop = async () => {
    await stopPart(router);
    await stopPart(simulation);
    proxy.close();
    await redis.stop();
  };
  return { redis, simulation, proxy, router, url, stop };
}

/** A second of a cluster that nobody asks. */
async function idle({ redis, simulation, proxy, router }) {
  const read = () => ({
    ...proxy.counted,
    routerMs: cpuMs(router.pid),
    redisMs: cpuMs(redis.pid),
    workersMs: cpuMs(simulation.pid),
  });
  const before = read();
  const beginMs = performance.now();
  await sleep(idleSeconds * 1_000);
  const seconds = (performance.now() - beginMs) / 1_000;
  return Object.fromEntries(
    Object.entries(read()).map(([name, now]) => [name, (now - before[name]) / seconds]),
  );
}

async function ask(url, index) {
  const body = {
    ...{ model: 'emoji-vlm', max_tokens: 1, ignore_eos: true },
    messages: [{ role: 'user', content: `Number ${index}` }],
  };
  const begin = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = await response.text();
  if (response.status !== 200) throw new Error(`${response.status} ${answer}`);
  return performance.now() - begin;
}

async function asking({ router, url }, from) {
  const before = cpuMs(router.pid);
  const times = [];
  for (let index = 0; index < requests; index += 1) times.push(await ask(url, from + index));
  return { requestMs: (cpuMs(router.pid) - before) / requests, answerMs: quantile(times, 0.5) };
}

/** The default policy over these workers: each as busy as its number says. */
async function decision({ redis }) {
  const client = await createRedisClient(redis.url);
  const records = await workersOf(new RedisRegistry(client));
  client.disconnect();
  const views = records.map((record, index) => ({
    record: { ...record, load: { ...record.load, running: index % 7, waiting: index % 3 } },
    storageClass: storageClass(record),
    ...{ reach: 'open', isListed: true, ownPages: 8 * (index % 5), freedPages: 0 },
    ...{ isLeftAlone: false, requests: (index % 7) + (index % 3) },
    ...{ pendingRequests: index % 2, pendingTokens: 300 * (index % 2), msPerToken: 0.2 },
  }));
  const [{ modelId, processorRevision }] = records;
  const policy = policyOf('cost-aware');
  const times = [];
  for (let turn = -DECISIONS / 4; turn < DECISIONS; turn += 1) {
    const request = {
      ...{ modelId, processorRevision, failed: new Set(), promptTokens: 400, pictures: 1 },
      ...{ pictureTokens: 272, answerTokens: 128, pagesOn: pagesByClass(() => 200) },
    };
    const begin = performance.now();
    const { picks } = place(request, views, policy, 2, Math.random);
    const ms = performance.now() - begin;
    if (picks.length === 0) throw new Error('no worker was found');
    if (turn >= 0) times.push(ms);
  }
  return { decisionP50Ms: quantile(times, 0.5), decisionP99Ms: quantile(times, 0.99) };
}

async function measure(workers) {
  const running = await cluster(workers);
  try {
    const rows = [];
    for (let round = 0; round < rounds; round += 1) {
      const row = await idle(running);
      Object.assign(row, await asking(running, round * requests), await decision(running));
      rows.push(row);
      process.stderr.write(`${workers} workers, round ${round + 1} of ${rounds}\n`);
    }
    const names = Object.keys(rows[0]);
    return {
      workers,
      ...Object.fromEntries(names.map((name) => [name, roundedSpread(rows.map((row) => row[name]))])),
    };
  } finally {
    await running.stop();
  }
}

const points = [];
for (const workers of sizes) points.push(await measure(workers));

const FIGURES = {
  toRouter: 'Redis to router, bytes a second',
  fromRouter: 'router to Redis, bytes a second',
  routerMs: 'CPU of the router, ms a second',
  redisMs: 'CPU of Redis, ms a second',
  workersMs: 'CPU of the workers’ process, ms a second',
  requestMs: 'CPU of the router for a request, ms',
  answerMs: 'an answer of one token, ms',
  decisionP50Ms: 'placement decision, median, ms',
  decisionP99Ms: 'placement decision, 99th of 100, ms',
};

const plotOf = (name, caption) =>
  linesPlot(
    caption,
    [
      {
        name,
        points: points.map(({ workers, [name]: { median, least, most } }) => ({
          ...{ x: workers, y: median, least, most },
        })),
      },
    ],
    { x: { type: 'log', label: 'workers', ticks: sizes, tickFormat: ',' }, y: { type: 'log' } },
  );

const figure = ({ median, least, most }) => `${median} [${least}, ${most}]`;
const machine = `${cpus()[0].model}, ${cpus().length} CPUs`;
const commit = execFileSync('git', ['-C', ROOT, 'rev-parse', '--short', 'HEAD']).toString().trim();
const command = `node bench/cluster-scale.mjs --workers ${values.workers} --idle ${idleSeconds} --requests ${requests} --rounds ${rounds}`;
const load = Number(loadavg()[0].toFixed(1));
writeFileSync(
  `${values.out}.json`,
  `${JSON.stringify({ command, commit, machine, load, points }, null, 1)}\n`,
);
const report = {
  title: 'Router beside many workers',
  summary: `What a router costs as its cluster grows, on a real Redis beside simulated workers: medians [least, most] of ${rounds} rounds.`,
  figures: [],
  sections: [
    {
      title: 'Figures',
      plots: Object.entries(FIGURES).map(([name, label]) => plotOf(name, label)),
      table: {
        columns: ['', ...points.map(({ workers }) => `${workers} workers`)],
        rows: Object.entries(FIGURES).map(([name, label]) => [
          ...[label, ...points.map((point) => figure(point[name]))],
        ]),
      },
    },
  ],
  provenance: [
    ['command', command],
    ['commit', commit],
    ['machine', `${machine}, load ${load} at the end`],
  ],
};
writeFileSync(`${values.out}.html`, renderHtml(report));
process.stdout.write(renderMarkdown(report));
