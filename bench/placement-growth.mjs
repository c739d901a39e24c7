// How long one decision takes, over 10, 100 and 1,000 workers (half of them full), a prompt of 4,000 tokens and four
// pictures: with nothing known of what workers hold, and with all of them asked. CPU time is the process's over all decisions,
// collections of garbage included; quantiles are by the clock, over the quietest of ROUNDS rounds, since on a busy machine
// those of any other tell of its neighbours.
//
// Usage: node bench/placement-growth.mjs [--decisions 10000] [--out PATH]
//   writes PATH.json and PATH.html; tsc -b has to have built everything once
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = resolve(import.meta.dirname, '..');
const built = (path) => import(join(ROOT, path, 'index.js'));
const { place, policyOf, POLICY_NAMES, storageClass } = await built('libs/domain/dist/placement');
const { COLOURS, escapeXml, gridLines, htmlPage, linePath, logScale, svgPlot } = await built(
  'libs/evaluation/dist/report',
);
const { demandOf } = await import(join(ROOT, 'apps/router/dist/placement/demand.js'));
const { Member } = await import(join(ROOT, 'apps/router/dist/fleet/member.js'));

const { values } = parseArgs({
  options: {
    decisions: { type: 'string', default: '10000' },
    out: { type: 'string', default: join(ROOT, 'bench/results/placement-growth') },
  },
});
const DECISIONS = Number(values.decisions);
const ROUNDS = 100;
const WORKERS = [10, 100, 1_000];

const formats = ['q8', 'capsule'].flatMap((codec) => [
  { codec, tokens: 0, profileId: '', markerRows: [], pages: 0, headerBytes: 64, bytesPerToken: 1_632 },
]);
const record = (index) => ({
  ...{ workerId: `worker-${index}`, address: `10.0.${index >> 8}.${index % 256}:9000`, epoch: 1 },
  ...{ modelId: 'demo', modelRevision: 'f'.repeat(64), processorRevision: 'a'.repeat(64) },
  ...{ arithmetic: 'cpu-avx2-1', precision: 'f16/f16', imageProcessor: 'i', profileId: 'p' },
  ...{ contextTokens: 8_192, blockTokens: 16, pagesPerBlock: 8, pageBytes: 6_144, capacityPages: 8_192 },
  ...{ codec: 'capsule', codecs: ['raw', 'q8', 'capsule'], formats },
  load: {
    ...{ state: 'ready', running: index % 7, waiting: index % 3 },
    freePages: index % 2 === 0 ? 4_000 + (index % 13) : 8,
  },
});
const events = { lost: () => undefined, reachable: () => undefined };
const fleetOf = (count) =>
  Array.from({ length: count }, (_, index) => new Member(record(index), () => undefined, events));

const request = {
  model: { workerModelId: 'demo', preparer: { processorRevision: 'a'.repeat(64) } },
  ...{ turns: [{ role: 'user', content: ['x'.repeat(500)] }], principal: { tenant: '' }, cacheSalt: '' },
};
const prompt = {
  tokenIds: Array.from({ length: 4_000 }, (_, index) => index % 997),
  pictures: [0, 1, 2, 3].map((index) => ({
    ...{ sha256: Buffer.alloc(32), encoded: Buffer.alloc(0), param: '' },
    ...{ offset: 100 + index * 400, length: 300 },
    markerRows: Array.from({ length: 44 }, (_, row) => row),
  })),
};

/** As an index answers: a look-up a worker. */
function heldBy(workers) {
  const held = new Map(
    workers.map(({ record: { workerId } }, index) => {
      const prefixTokens = index % 5 === 0 ? 16 * (index % 250) : 0;
      const pictures = { pictures: 4, picturesHeld: index % 5 === 0 ? 1 : 0, featuresHeld: index % 3 };
      return [workerId, { prefixTokens, promptTokens: 4_000, ...pictures }];
    }),
  );
  return (worker) => held.get(worker.record.workerId);
}

const quantile = (sorted, share) => sorted[Math.round(share * (sorted.length - 1))];
const round = (ms) => Number(ms.toFixed(4));

/** Ms of each, ascending. */
function timesOf(decide, times) {
  const each = Array.from({ length: times }, () => {
    const beganMs = performance.now();
    decide();
    return performance.now() - beganMs;
  });
  return each.sort((a, b) => a - b);
}

/** A decision is everything from the prompt to the workers that are tried. */
function measure(policyName, count, known) {
  const workers = fleetOf(count);
  const policy = policyOf(policyName);
  const held = known ? heldBy(workers) : undefined;
  const decide = () => {
    const { picks } = place(demandOf(request, prompt, 8_192, held), workers, policy, 3, Math.random);
    if (picks.length === 0) throw new Error('nobody was picked');
  };
  for (let warm = 0; warm < DECISIONS / 4; warm += 1) decide();
  const before = process.cpuUsage();
  const rounds = Array.from({ length: ROUNDS }, () => timesOf(decide, DECISIONS / ROUNDS));
  const { user, system } = process.cpuUsage(before);
  const quietest = rounds.toSorted((a, b) => quantile(a, 0.99) - quantile(b, 0.99))[0];
  return {
    ...{ policy: policyName, workers: count, held: known },
    cpuMs: round((user + system) / 1_000 / DECISIONS),
    ...{ p50Ms: round(quantile(quietest, 0.5)), p99Ms: round(quantile(quietest, 0.99)) },
  };
}

if (storageClass(record(0)) !== storageClass(record(1))) throw new Error('workers are to be of one class');
const rows = POLICY_NAMES.flatMap((policy) =>
  WORKERS.flatMap((count) =>
    (policy === 'cost-aware' ? [false, true] : [false]).map((known) => measure(policy, count, known)),
  ),
);

const commit = execFileSync('git', ['-C', ROOT, 'rev-parse', '--short', 'HEAD']).toString().trim();
const result = {
  command: `node bench/placement-growth.mjs --decisions ${values.decisions}`,
  machine: { cpu: cpus()[0].model, cores: cpus().length, load: loadavg()[0], node: process.version },
  ...{ commit, decisions: DECISIONS, rows },
};

const FRAME = { width: 560, height: 340, margin: { left: 64, right: 190, top: 28, bottom: 44 } };
function chart(label, value) {
  const { width, height, margin } = FRAME;
  const right = width - margin.right;
  const xAt = logScale(WORKERS[0], WORKERS.at(-1), margin.left, right);
  const ticks = [0.01, 0.03, 0.1, 0.3, 1, 3];
  const yAt = logScale(ticks[0], ticks.at(-1), height - margin.bottom, margin.top);
  const series = Map.groupBy(rows, ({ policy, held }) => (held ? `${policy}, content known` : policy));
  const lines = [...series].map(([name, points], index) => {
    const places = points.map((row) => [xAt(row.workers), yAt(value(row))]);
    const style = `stroke="${COLOURS[index % COLOURS.length]}" fill="none" stroke-width="1.6"`;
    const key = margin.top + 12 + 14 * index;
    return `<path d="${linePath(places)}" ${style}/><path d="M${right + 6} ${key - 4}h16" ${style}/><text x="${right + 26}" y="${key}">${name}</text>`;
  });
  return svgPlot(FRAME, label, [
    `<text x="${margin.left}" y="16" font-weight="600">${escapeXml(label)}</text>`,
    gridLines(FRAME, { ticks: WORKERS, show: String, at: xAt }, { ticks, show: String, at: yAt }),
    ...lines,
    `<text x="${(margin.left + right) / 2}" y="${height - 8}" text-anchor="middle">workers, half of them full</text>`,
  ]);
}

const table = rows
  .map(({ policy, workers, held, cpuMs, p50Ms, p99Ms }) =>
    [policy.padEnd(14), String(workers).padStart(6), held ? 'known' : '-', cpuMs, p50Ms, p99Ms].join('\t'),
  )
  .join('\n');
const text = `policy          workers\tcontent\tCPU ms\tp50 ms\tp99 ms\n${table}\n`;
const charts = [
  chart('CPU of a decision, ms', ({ cpuMs }) => cpuMs),
  chart('p50 of a decision, ms', ({ p50Ms }) => p50Ms),
  chart('p99 of a decision, ms', ({ p99Ms }) => p99Ms),
].join('\n');
const note = `${DECISIONS} decisions each in ${ROUNDS} rounds, of which the quietest is told, from a prompt of 4,000 tokens and four pictures to three workers in order; load of the machine ${result.machine.load.toFixed(1)} on ${result.machine.cores} cores.`;
writeFileSync(`${values.out}.json`, `${JSON.stringify(result, null, 2)}\n`);
writeFileSync(
  `${values.out}.html`,
  htmlPage('Decisions of placement', `<p>${escapeXml(note)}</p>\n${charts}\n<pre>${escapeXml(text)}</pre>`),
);
process.stdout.write(text);
