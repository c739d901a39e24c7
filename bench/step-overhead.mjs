// What a step costs on a worker's event loop beside the engine, by how much is held: the scheduler plans it, takes its
// outcome in, and the lease balancer looks at what has changed. Raw text, content named, nothing shared. This checkout
// and, beside it, another one that has been built take turns. Median and quartiles of the thread's CPU time
// over stretches of steps (total), and medians of wall time of each part.
//
// Usage: node bench/step-overhead.mjs [--baseline DIR] [--cases 64x4096,256x8192] [--rounds 15] [--steps 32] [--json FILE]
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseOptions } from './options.mjs';
import { median, quartiles } from './statistics.mjs';

const ROOT = join(import.meta.dirname, '..');
const BLOCK_TOKENS = 16;
const PAGES_PER_BLOCK = 8;
const PARTS = ['plan', 'complete', 'balance'];

async function load(dir) {
  const from = (path) => import(pathToFileURL(join(dir, path)).href);
  const [{ Scheduler }, { rootName }] = await Promise.all([
    from('libs/domain/dist/scheduling/index.js'),
    from('libs/domain/dist/identity/index.js'),
  ]);
  const root = rootName({
    ...{ modelRevision: 'm', precision: 'f16', imageProcessor: 'p', arithmetic: 'a' },
    ...{ tenant: '', cacheSalt: '', domain: 'd' },
  });
  return { Scheduler, root, balancer: await balancerOf(dir, from) };
}

/** What looks at leases after each step, before a ledger that grants everything at once. */
async function balancerOf(dir, from) {
  if (existsSync(join(dir, 'libs/serving'))) {
    const { Leases } = await from('libs/serving/dist/leases/leases.js');
    return (scheduler, ids) => {
      const asked = [];
      const leases = new Leases(scheduler, PAGES_PER_BLOCK, (effect) => asked.push(effect));
      for (const id of ids) leases.accept(id, { leaseId: id, epoch: 1n, pages: 0 }, () => undefined);
      return () => {
        leases.balance(performance.now());
        for (let effect = asked.shift(); effect; effect = asked.shift())
          if (effect.kind === 'resizeLease') leases.resized(effect.id, 'set', performance.now());
      };
    };
  }
  const { LeaseBalancer } = await from('apps/worker/dist/serving/lease-balancer.js');
  return (scheduler, ids) => {
    const leased = new Map(ids.map((id) => [id, 0]));
    const resize = (key, pages) => {
      leased.set(key, pages);
      return Promise.resolve(true);
    };
    const balancer = new LeaseBalancer(
      scheduler,
      { pages: (key) => leased.get(key), resize },
      PAGES_PER_BLOCK,
    );
    return () => {
      balancer.balance();
    };
  };
}

/** So many sequences of so many tokens that all decode. */
async function decoding({ Scheduler, root, balancer }, sequences, tokens) {
  const blocks = sequences * (tokens / BLOCK_TOKENS + 64);
  const scheduler = new Scheduler({ blocks, maxStepTokens: 1 << 20, maxRunning: sequences });
  const ids = Array.from({ length: sequences }, (_, index) => `r${index}`);
  const balance = balancer(scheduler, ids);
  for (const [index, id] of ids.entries()) {
    // lengths differ, so that not all begin a block in the same step
    const promptTokens = tokens - (index % BLOCK_TOKENS);
    const tokenIds = Array.from({ length: promptTokens }, (_, at) => (at * 7 + index * 131) % 50_000);
    scheduler.add({ id, promptTokens, pictures: [], content: { root, tokenIds } });
  }
  const drawn = new Int32Array(sequences).fill(5);
  const wallMs = { plan: [], complete: [], balance: [] };
  const timed = (part, work) => {
    const begin = performance.now();
    const result = work();
    wallMs[part].push(performance.now() - begin);
    return result;
  };
  const step = async () => {
    const planned = timed('plan', () => scheduler.plan());
    timed('complete', () => scheduler.complete(planned, drawn));
    timed('balance', balance);
    await new Promise((done) => setImmediate(done));
    return planned;
  };
  while ((await step()).rows !== sequences);
  for (let warm = 0; warm < 300; warm += 1) await step();
  return async (steps) => {
    for (const part of PARTS) wallMs[part] = [];
    const before = process.threadCpuUsage();
    for (let count = 0; count < steps; count += 1) await step();
    const { user, system } = process.threadCpuUsage();
    const total = (user - before.user + system - before.system) / 1000 / steps;
    return { total, ...Object.fromEntries(PARTS.map((part) => [part, median(wallMs[part])])) };
  };
}

const fixed = (ms) => Number(ms.toFixed(4));

async function compare(sides, sequences, tokens, rounds, steps) {
  const runs = [];
  for (const [side, modules] of sides)
    runs.push({ side, run: await decoding(modules, sequences, tokens), samples: [] });
  for (let round = 0; round < rounds; round += 1)
    for (const { run, samples } of round % 2 ? runs.toReversed() : runs) samples.push(await run(steps));
  return runs.map(({ side, samples }) => {
    const { median: middle, q1, q3 } = quartiles(samples.map(({ total }) => total));
    const parts = PARTS.map((part) => [part, fixed(median(samples.map((sample) => sample[part])))]);
    const total = { median: fixed(middle), q25: fixed(q1), q75: fixed(q3) };
    return { side, sequences, tokens, ...total, ...Object.fromEntries(parts) };
  });
}

const { values } = parseOptions({
  options: {
    baseline: { type: 'string' },
    cases: { type: 'string', default: '64x4096,256x8192' },
    rounds: { type: 'string', default: '15' },
    steps: { type: 'string', default: '32' },
    json: { type: 'string' },
  },
});
const commitOf = (dir) => execFileSync('git', ['rev-parse', 'HEAD'], { cwd: dir }).toString().trim();
const checkouts = [['this', ROOT], ...(values.baseline ? [['baseline', resolve(values.baseline)]] : [])];
const sides = await Promise.all(checkouts.map(async ([side, dir]) => [side, await load(dir)]));
const rows = [];
for (const one of values.cases.split(',')) {
  const [sequences, tokens] = one.split('x').map(Number);
  rows.push(...(await compare(sides, sequences, tokens, Number(values.rounds), Number(values.steps))));
}
console.table(rows);
if (values.json) {
  const result = {
    command: `node bench/step-overhead.mjs ${values.baseline ? '--baseline DIR ' : ''}--cases ${values.cases} --rounds ${values.rounds} --steps ${values.steps}`,
    commits: Object.fromEntries(checkouts.map(([side, dir]) => [side, commitOf(dir)])),
    machine: `${cpus()[0].model}, ${cpus().length} cores`,
    load: loadavg(),
    unit: 'ms a step: median, q25 and q75 of CPU, parts of wall time',
    rows,
  };
  writeFileSync(values.json, `${JSON.stringify(result, undefined, 2)}\n`);
}
