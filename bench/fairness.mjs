// What a noisy tenant costs a quiet one: time to first token of a tenant alone, beside another with 50 times its load
// (more than the worker has room for), and with both in one line, as without tenants. The real router on a real Redis,
// before a worker that speaks the protocol and only keeps time and pages; requests come by chance, as many a second on
// average. The three take turns.
//
// Usage: node bench/fairness.mjs [--rounds 4] [--seconds 60] [--slots 128] [--out FILE]
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { arrivalTimes } from '@kvcapsule/load/arrivals';
import { parseOptions } from './options.mjs';
import { chat, line, post } from './router/load.mjs';
import { startOurs } from './router/sides.mjs';
import { quantile, rounded } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const { values } = parseOptions({
  options: {
    rounds: { type: 'string', default: '4' },
    seconds: { type: 'string', default: '60' },
    slots: { type: 'string', default: '128' },
    out: { type: 'string' },
  },
});
const SLOTS = Number(values.slots);
const SECONDS = Number(values.seconds);
const TIMES = 50;
/** A request is 1 to 2 s of prefill and 74 tokens on average: few a second, so that it is not the CPU that is short. */
const PACE = { stepMs: 50, atOnce: true, prefillMs: [1_000, 2_000] };
const TOKENS = { least: 40, most: 108 };
const MEAN_SECONDS = 1.5 + 0.05 * 73;
/** Of the prompts here, with 16 tokens a block and 8 pages a block. */
const PAGES = 16;
const KEYS = { quiet: 'sk-fairness-quiet', noisy: 'sk-fairness-noisy' };
/** Together an eighth more than there is room for. */
const QUIET_PER_SECOND = (1.125 * SLOTS) / MEAN_SECONDS / (TIMES + 1);

const body = () =>
  chat(
    `please ${line()} and then go on with it for a while`,
    TOKENS.least + Math.floor(Math.random() * (TOKENS.most - TOKENS.least + 1)),
  );

/** Requests of one tenant for a while; ms to the first part of each that was answered, and how many were not. */
async function drive(url, perSecond, key) {
  const agent = new http.Agent({ keepAlive: true });
  const outcome = { firstMs: [], refused: 0 };
  const headers = { authorization: `Bearer ${key}` };
  const ask = async () => {
    try {
      outcome.firstMs.push((await post(url, agent, body(), headers)).firstMs);
    } catch (error) {
      if (!/^(429|503) /.test(error.message)) throw error;
      outcome.refused += 1;
    }
  };
  const asked = [];
  const beganMs = performance.now();
  for (const atMs of arrivalTimes({ kind: 'constant', perSecond }, 'poisson', Math.random)) {
    if (atMs >= SECONDS * 1_000) break;
    await sleep(Math.max(0, beganMs + atMs - performance.now()));
    asked.push(ask());
  }
  await Promise.all(asked);
  agent.destroy();
  return outcome;
}

const PHASES = {
  alone: (url) => drive(url, QUIET_PER_SECOND, KEYS.quiet),
  beside: (url) => both(url, KEYS.noisy),
  'one line': (url) => both(url, KEYS.quiet),
};

async function both(url, noisyKey) {
  const [quiet, noisy] = await Promise.all([
    drive(url, QUIET_PER_SECOND, KEYS.quiet),
    drive(url, TIMES * QUIET_PER_SECOND, noisyKey),
  ]);
  return { ...quiet, noisy };
}

const folder = mkdtempSync(join(tmpdir(), 'kvcapsule-fairness-'));
const file = join(folder, 'tenants.json');
const tenants = Object.entries(KEYS).map(([name, key]) => ({
  name,
  keySha256: [createHash('sha256').update(key).digest('hex')],
}));
writeFileSync(file, JSON.stringify({ tenants }));
const side = await startOurs('ours', {
  root: ROOT,
  pace: { ...PACE, capacityPages: SLOTS * PAGES },
  flags: ['--tenants', file],
  headers: { authorization: `Bearer ${KEYS.quiet}` },
});
const rounds = [];
try {
  for (let round = 0; round < Number(values.rounds); round += 1) {
    const names = Object.keys(PHASES);
    const outcomes = {};
    for (const name of round % 2 ? names.toReversed() : names) outcomes[name] = await PHASES[name](side.url);
    rounds.push(outcomes);
    console.error(
      `round ${round + 1}: p99 ${names.map((name) => `${name} ${Math.round(quantile(outcomes[name].firstMs, 0.99))} ms`).join(', ')}`,
    );
  }
} finally {
  await side.stop();
  rmSync(folder, { recursive: true });
}

const rows = Object.keys(PHASES).map((name) => {
  const firstMs = rounds.flatMap((round) => round[name].firstMs);
  const refused = rounds.reduce((sum, round) => sum + round[name].refused, 0);
  const noisy = rounds.flatMap((round) => round[name].noisy?.firstMs ?? []);
  const noisyRefused = rounds.reduce((sum, round) => sum + (round[name].noisy?.refused ?? 0), 0);
  return {
    name,
    ...{
      requests: firstMs.length,
      refused,
      p50Ms: rounded(quantile(firstMs, 0.5)),
      p90Ms: rounded(quantile(firstMs, 0.9)),
      p99Ms: rounded(quantile(firstMs, 0.99)),
    },
    ...(noisy.length > 0 && {
      noisy: { requests: noisy.length, refused: noisyRefused, p50Ms: rounded(quantile(noisy, 0.5)) },
    }),
  };
});
const ratio = (name, of) => rounded(rows.find((row) => row.name === name)[of] / rows[0][of]);
const ratios = Object.fromEntries(
  ['beside', 'one line'].map((name) => [
    name,
    { p50: ratio(name, 'p50Ms'), p90: ratio(name, 'p90Ms'), p99: ratio(name, 'p99Ms') },
  ]),
);
const result = {
  command: `node bench/fairness.mjs --rounds ${values.rounds} --seconds ${values.seconds} --slots ${values.slots}`,
  commit: execFileSync('git', ['-C', ROOT, 'rev-parse', '--short', 'HEAD']).toString().trim(),
  machine: `${cpus()[0].model}, ${cpus().length} cores`,
  load: loadavg().map(rounded),
  slots: SLOTS,
  quietPerSecond: rounded(QUIET_PER_SECOND),
  rows,
  ratios,
};
console.table(rows.map(({ noisy, ...row }) => ({ ...row, noisyRefused: noisy?.refused })));
console.log(ratios);
if (values.out) writeFileSync(values.out, `${JSON.stringify(result, undefined, 2)}\n`);
