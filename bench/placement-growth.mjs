// How long a router takes to place a request, from the prepared prompt to the reservation (the ledger's answer aside), as
// its workers and what it knows of their caches grow: 10, 100 and 1,000 workers (half of them full) that hold a million
// blocks, then 1,000 workers that hold ten thousand, a hundred thousand and a million. All parts are the router's own;
// workers tell what they hold by the protocol's messages into the index that requests are looked up in. A prompt has
// 4,000 tokens, four pictures among them, and begins with one of 20 instructions.
//   turn    a conversation that one worker holds whole (one in ten: three workers)
//   opening instructions and a picture that are held, by many and by one; the rest is new
//   new     a prompt that nobody holds anything of
// CPU time is the process's over all requests, collections of garbage included; quantiles are by the clock, over all
// requests and over the quietest of ROUNDS rounds, since on a busy machine the others tell of its neighbours, too.
//
// Usage: node bench/placement-growth.mjs [--requests 5000] [--out PATH]
//   writes PATH.json and PATH.html; tsc -b has to have built everything once
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { linesPlot, renderHtml, renderMarkdown } from '@kvcapsule/reporting';
import { parseOptions } from './options.mjs';
import { conversation, namesOf, promptOf, REQUEST } from './placement/conversations.mjs';
import { routerBeside } from './placement/router.mjs';
import { quantile, roundedTo } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const { values } = parseOptions({
  options: {
    requests: { type: 'string', default: '5000' },
    out: { type: 'string', default: join(ROOT, 'bench/results/placement-growth') },
  },
});
const REQUESTS = Number(values.requests);
const ROUNDS = 50;
const WORKERS = [10, 100, 1_000];
const BLOCKS = [10_000, 100_000, 1_000_000];
const MOST_WORKERS = WORKERS.at(-1);
const MOST_BLOCKS = BLOCKS.at(-1);
/** Prompts of each kind, made before the clock runs. */
const PROMPTS = 100;
/** Of the protocol's messages. */
const MESSAGE = 1_000;

/** Conversations whose names are so many; workers take them in turns. */
function* conversations(blocks) {
  const known = new Set();
  for (let number = 0; known.size < blocks; number += 1) {
    const names = namesOf(promptOf(conversation(number)));
    for (const name of names) known.add(name.toString('latin1'));
    yield names;
  }
}

const holdersOf = (number, workers) =>
  number % 10 === 0
    ? [0, 1, 2].map((at) => (number + at * Math.ceil(workers / 3)) % workers)
    : [number % workers];

/** Workers hold conversations until the index knows so many names; says how many conversations there are. */
function fill(router, workers, blocks) {
  const begun = new Set();
  let count = 0;
  for (const names of conversations(blocks)) {
    for (const worker of new Set(holdersOf(count, workers))) {
      for (let at = 0; at < names.length; at += MESSAGE)
        router.tell(worker, names.slice(at, at + MESSAGE), at === 0 && !begun.has(worker));
      begun.add(worker);
    }
    count += 1;
  }
  return count;
}

/** Prompts of each kind in turns, of conversations all over. */
function promptsOf(count) {
  const some = Array.from({ length: PROMPTS }, (_, at) => Math.floor((at * count) / PROMPTS));
  return some.flatMap((number, at) => {
    const { instructions, pictures } = conversation(number);
    const [other, fresh] = [2e6 + at, 4e6 + at];
    return [
      { kind: 'turn', prompt: promptOf(conversation(number)) },
      {
        kind: 'opening',
        prompt: promptOf({ instructions, text: other, pictures: [pictures[0], 4 * other, 4 * other + 1] }),
      },
      { kind: 'new', prompt: promptOf({ ...conversation(fresh), instructions: fresh }) },
    ];
  });
}

const digits = roundedTo(3);
const msOf = (times) => times.map(({ ms }) => ms);

async function timesOf(router, prompts, count) {
  const times = [];
  for (let at = 0; at < count; at += 1) {
    const { kind, prompt } = prompts[at % prompts.length];
    const beganMs = performance.now();
    const reservation = await router.place(REQUEST, prompt);
    times.push({ kind, ms: performance.now() - beganMs });
    if (!reservation) throw new Error('nobody was found');
    await router.release(reservation);
  }
  return times;
}

function summary(times) {
  const each = msOf(times);
  return { p50Ms: digits(quantile(each, 0.5)), p99Ms: digits(quantile(each, 0.99)) };
}

async function measure(workers, blocks) {
  const router = await routerBeside(workers);
  const prompts = promptsOf(fill(router, workers, blocks));
  await timesOf(router, prompts, REQUESTS / 2);
  const before = process.cpuUsage();
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1)
    rounds.push(await timesOf(router, prompts, REQUESTS / ROUNDS));
  const { user, system } = process.cpuUsage(before);
  const all = rounds.flat();
  const kinds = Object.entries(Object.groupBy(all, ({ kind }) => kind));
  const [quietest] = rounds.map(summary).sort((a, b) => a.p99Ms - b.p99Ms);
  const { names, pairs, bytes } = router.index;
  const row = {
    ...{ workers, names, pairs, indexBytes: bytes, bytesPerName: digits(bytes / names) },
    ...{ cpuMs: digits((user + system) / 1_000 / REQUESTS), ...summary(all) },
    ...{ quietest, kinds: Object.fromEntries(kinds.map(([kind, times]) => [kind, summary(times)])) },
  };
  await router.stop();
  process.stderr.write(`${workers} workers, ${names} names: p99 ${row.p99Ms} ms\n`);
  return row;
}

const byWorkers = [];
for (const workers of WORKERS) byWorkers.push(await measure(workers, MOST_BLOCKS));
const byBlocks = [];
for (const blocks of BLOCKS.slice(0, -1)) byBlocks.push(await measure(MOST_WORKERS, blocks));
byBlocks.push(byWorkers.at(-1));

const SERIES = {
  p50: ({ p50Ms }) => p50Ms,
  'p99, all': ({ p99Ms }) => p99Ms,
  'p99, quietest': ({ quietest }) => quietest.p99Ms,
  CPU: ({ cpuMs }) => cpuMs,
};
function plotOf(rows, caption, label, along) {
  const series = Object.entries(SERIES).map(([name, value]) => ({
    name,
    points: rows.map((row) => ({ x: along(row), y: value(row) })),
  }));
  const ticks = rows.map(along);
  return linesPlot(caption, series, {
    x: { type: 'log', label, ticks, tickFormat: ',' },
    y: { type: 'log' },
  });
}

const commit = execFileSync('git', ['-C', ROOT, 'rev-parse', '--short', 'HEAD']).toString().trim();
const machine = {
  cpu: cpus()[0].model,
  cores: cpus().length,
  load: digits(loadavg()[0]),
  node: process.version,
};
const command = `node bench/placement-growth.mjs --requests ${REQUESTS}`;
const FIGURES = {
  workers: ({ workers }) => workers,
  names: ({ names }) => names,
  'names × owners': ({ pairs }) => pairs,
  'index, bytes a name': ({ bytesPerName }) => bytesPerName,
  'CPU, ms': ({ cpuMs }) => cpuMs,
  'p50, ms': ({ p50Ms }) => p50Ms,
  'p99, ms': ({ p99Ms }) => p99Ms,
  'p99, quietest round': ({ quietest }) => quietest.p99Ms,
  'p99 of a turn': ({ kinds }) => kinds.turn.p99Ms,
  'of an opening': ({ kinds }) => kinds.opening.p99Ms,
  'of a new prompt': ({ kinds }) => kinds.new.p99Ms,
};
const most = byWorkers.at(-1);
const report = {
  title: 'Placing a request',
  summary: `How long a router takes from the prepared prompt to the reservation, as its workers and what it knows of their caches grow: ${REQUESTS} requests each in ${ROUNDS} rounds.`,
  figures: [
    { value: `${most.p50Ms} ms`, label: `p50 over ${most.workers} workers that hold ${most.names} names` },
    { value: `${most.p99Ms} ms`, label: `p99 there; ${most.quietest.p99Ms} in the quietest round` },
    { value: `${most.cpuMs} ms`, label: 'of CPU a request' },
  ],
  sections: [
    {
      title: 'Growth',
      plots: [
        plotOf(byWorkers, 'Milliseconds, a million blocks', 'workers', ({ workers }) => workers),
        plotOf(byBlocks, 'Milliseconds, 1,000 workers', 'blocks that they hold', ({ names }) => names),
      ],
      table: {
        columns: Object.keys(FIGURES),
        rows: [...byWorkers, ...byBlocks.slice(0, -1)].map((row) =>
          Object.values(FIGURES).map((value) => String(value(row))),
        ),
      },
    },
  ],
  provenance: [
    ['command', command],
    ['commit', commit],
    ['machine', `${machine.cpu}, ${machine.cores} cores, load ${machine.load}, Node ${machine.node}`],
  ],
};
writeFileSync(
  `${values.out}.json`,
  `${JSON.stringify({ command, machine, commit, byWorkers, byBlocks }, null, 1)}\n`,
);
writeFileSync(`${values.out}.html`, renderHtml(report));
process.stdout.write(renderMarkdown(report));
