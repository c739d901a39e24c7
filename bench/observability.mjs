// What observability costs: CPU per request and answers a second of a cluster with all of it on (scraped each 5 s, metrics
// under vLLM's names too, traces of one request in a hundred to an OTLP receiver) over those of one with all of it off.
// Both are asked at the same time by as many clients each: one after the other, each meets another machine (ratios of
// neighbouring turns of 8 s spread from 0.66 to 1.5 where the machine is a virtual one). Two loads: `pretended`, where
// workers only pretend to compute, so that routers are what is asked for, and `demo`, the demo model's engine. Ratios
// are of one turn; the interval is that of their median (order statistics, 95 % from six rounds on, else from the least
// to the most).
//
// Usage: node bench/observability.mjs [--rounds 30] [--seconds 6] [--only pretended,demo] [--tenants 0] [--out FILE]
//   --tenants N  instead: memory and series of a router that as many tenants have asked, beside one with a single tenant
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Cluster } from '../e2e/dist/harness.js';
import { parseOptions } from './options.mjs';
import { chat, line, post } from './router/load.mjs';
import { startOurs } from './router/sides.mjs';
import { cpuSecondsOf, residentMibOf } from './serving/process-tree.mjs';
import { quantile, rounded, roundedAll, roundedSpread } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const SCRAPE_MS = 5_000;
const FLAGS = ['--metrics-compat', 'vllm'];
/** Of the worker that pretends. */
const PACE = { stepMs: 5, atOnce: true };

const LOADS = {
  pretended: { at: 64, tokens: 32, start: startPretended },
  demo: { at: 4, tokens: 24, start: startDemo },
};

/** Receives spans and throws them away, as a collector that is quick. */
async function startReceiver() {
  let posts = 0;
  const server = http.createServer((request, response) => {
    posts += 1;
    request.resume().on('end', () => response.setHeader('content-type', 'application/json').end('{}'));
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  const url = `http://127.0.0.1:${server.address().port}`;
  return { url, posts: () => posts, stop: () => server.close() };
}

const tracesTo = (url) => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: url,
  OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
  OTEL_TRACES_SAMPLER_ARG: '0.01',
});

/** The parts inherit this process' environment. */
async function withVariables(variables, start) {
  Object.assign(process.env, variables);
  try {
    return await start();
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
  }
}

async function startPretended(isOn) {
  const side = await startOurs(isOn ? 'on' : 'off', { root: ROOT, pace: PACE, flags: isOn ? FLAGS : [] });
  return { ...side, pids: [side.pid], scraped: [new URL('/metrics', side.url)] };
}

async function startDemo(isOn) {
  const more = isOn ? FLAGS : [];
  const cluster = await Cluster.start({ workerArgs: ['--pool-mib', '64', ...more], routerArgs: more });
  const worker = cluster.workers[0];
  return {
    url: new URL(cluster.url),
    pids: [cluster.router.process.pid, worker.process.pid],
    scraped: [new URL('/metrics', cluster.url), new URL(worker.ready.metrics)],
    stop: () => cluster.stop(),
  };
}

async function scrape(urls) {
  const texts = await Promise.all(urls.map(async (url) => (await fetch(url)).text()));
  return texts.join('\n');
}

/** So many clients, each of which asks again as soon as it is answered, until the time is over. */
async function drive(url, { at, tokens }, seconds) {
  const agent = new http.Agent({ keepAlive: true });
  const beganMs = performance.now();
  const endMs = beganMs + seconds * 1_000;
  let answered = 0;
  const client = async () => {
    while (performance.now() < endMs) {
      await post(url, agent, chat(line(), tokens));
      answered += 1;
    }
  };
  await Promise.all(Array.from({ length: at }, client));
  agent.destroy();
  return { answered, seconds: (performance.now() - beganMs) / 1_000 };
}

const tokensOf = (text) =>
  Number(/^kvcapsule_router_tokens_total\{.*kind="completion"\} (\S+)$/m.exec(text)?.[1] ?? NaN);

/** One turn of a side. What is told of tokens is read before and after it, of both sides alike. */
async function turn(side, isOn, load, seconds) {
  const before = tokensOf(await scrape(side.scraped.slice(0, 1)));
  const cpuBefore = cpuSecondsOf(side.pids);
  const timer = isOn ? setInterval(() => void scrape(side.scraped), SCRAPE_MS) : undefined;
  const { answered, seconds: took } = await drive(side.url, load, seconds);
  clearInterval(timer);
  const cpuMs = (1_000 * (cpuSecondsOf(side.pids) - cpuBefore)) / answered;
  const tokens = tokensOf(await scrape(side.scraped.slice(0, 1))) - before;
  return { requestsPerSecond: answered / took, tokensPerSecond: tokens / took, cpuMsPerRequest: cpuMs };
}

/** Between which two of so many ordered samples their median lies with 95 %; the first and last where none are. */
function medianInterval(samples) {
  const n = samples.length;
  const sorted = samples.toSorted((a, b) => a - b);
  let tail = 0.5 ** n;
  let term = tail;
  let below = 0;
  while (below + 1 < n / 2) {
    term = (term * (n - below)) / (below + 1);
    if (2 * (tail + term) > 0.05) break;
    tail += term;
    below += 1;
  }
  return [sorted[below], sorted[n - 1 - below]];
}

function ratioOf(on, off) {
  const ratios = on.map((value, round) => value / off[round]);
  const [from, to] = medianInterval(ratios);
  return roundedAll({ median: quantile(ratios, 0.5), from, to });
}

function summaryOf({ on, off }) {
  const measures = Object.keys(on[0]);
  const of = (rounds, measure) => rounds.map((round) => round[measure]);
  return Object.fromEntries(
    measures.map((measure) => {
      const [ours, bare] = [of(on, measure), of(off, measure)];
      return [measure, { on: roundedSpread(ours), off: roundedSpread(bare), ratio: ratioOf(ours, bare) }];
    }),
  );
}

async function pair(name, { rounds, seconds }, receiver) {
  const load = LOADS[name];
  const sides = { on: await withVariables(tracesTo(receiver.url), () => load.start(true)) };
  const turns = { on: [], off: [] };
  try {
    sides.off = await load.start(false);
    // the first rounds warm both up and count for nothing
    for (let round = -2; round < rounds; round += 1) {
      const [on, off] = await Promise.all([
        turn(sides.on, true, load, seconds),
        turn(sides.off, false, load, seconds),
      ]);
      if (round < 0) continue;
      turns.on.push(on);
      turns.off.push(off);
    }
  } finally {
    await Promise.all(Object.values(sides).map((side) => side.stop()));
  }
  return { clientsOfEach: load.at, tokens: load.tokens, ...summaryOf(turns) };
}

const keyOf = (tenant) => `key-of-tenant-${tenant}`;

function tenantsFile(folder, count) {
  const tenants = Array.from({ length: count }, (_, tenant) => ({
    name: `tenant-${tenant}`,
    keySha256: [createHash('sha256').update(keyOf(tenant)).digest('hex')],
  }));
  const file = join(folder, `tenants-${count}.json`);
  writeFileSync(file, JSON.stringify({ tenants }));
  return file;
}

/** Memory of a router and what it tells, before as many requests as `requests` and after them, one tenant after the other. */
async function askedBy(count, requests, folder) {
  const headers = (tenant) => ({ authorization: `Bearer ${keyOf(tenant)}` });
  const flags = ['--tenants', tenantsFile(folder, count)];
  const side = await startOurs('tenants', { root: ROOT, pace: PACE, flags, headers: headers(0) });
  const agent = new http.Agent({ keepAlive: true });
  try {
    const before = residentMibOf([side.pid]);
    let next = 0;
    const client = async () => {
      for (let at = next++; at < requests; at = next++)
        await post(side.url, agent, chat(line(), 2), headers(at % count));
    };
    await Promise.all(Array.from({ length: 16 }, client));
    const text = await scrape([new URL('/metrics', side.url)]);
    const series = text.split('\n').filter((sample) => sample !== '' && !sample.startsWith('#')).length;
    return {
      tenants: count,
      mibBefore: before,
      mibAfter: residentMibOf([side.pid]),
      series,
      bytes: text.length,
    };
  } finally {
    agent.destroy();
    await side.stop();
  }
}

async function tenantsMemory(count) {
  const folder = mkdtempSync(join(tmpdir(), 'kvc-bench-'));
  try {
    const rows = [];
    for (const tenants of [1, count]) rows.push(roundedAll(await askedBy(tenants, count, folder)));
    console.table(rows);
    return { requests: count, rows };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function costs(values) {
  const receiver = await startReceiver();
  const rounds = { rounds: Number(values.rounds), seconds: Number(values.seconds) };
  const loads = {};
  try {
    for (const name of values.only.split(',')) loads[name] = await pair(name, rounds, receiver);
  } finally {
    receiver.stop();
  }
  console.table(
    Object.entries(loads).flatMap(([load, { clientsOfEach: _, tokens: __, ...measures }]) =>
      Object.entries(measures).map(([measure, { on, off, ratio }]) => ({
        ...{ load, measure, on: on.median, off: off.median },
        ratio: `${ratio.median} [${ratio.from}, ${ratio.to}]`,
      })),
    ),
  );
  return { postsOfSpans: receiver.posts(), loads };
}

async function main() {
  const { values } = parseOptions({
    options: {
      rounds: { type: 'string', default: '30' },
      seconds: { type: 'string', default: '6' },
      only: { type: 'string', default: Object.keys(LOADS).join(',') },
      tenants: { type: 'string', default: '0' },
      out: { type: 'string' },
    },
  });
  const before = loadavg()[0];
  const tenants = Number(values.tenants);
  const result = tenants > 0 ? { tenants: await tenantsMemory(tenants) } : await costs(values);
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT }).toString().trim();
  const words = process.argv.slice(2).filter((word, at, all) => word !== '--out' && all[at - 1] !== '--out');
  const head = {
    command: ['node bench/observability.mjs', ...words].join(' '),
    ...{ commit, machine: `${cpus()[0].model}, ${cpus().length} cores` },
    load: [before, loadavg()[0]].map(rounded),
  };
  if (values.out) writeFileSync(values.out, `${JSON.stringify({ ...head, ...result }, undefined, 2)}\n`);
}

await main();
