// What a router costs: CPU time of its process (all threads) per request and per streamed token, beside another
// checkout's in the same run. Each side is a real router process on a Redis of its own, before a worker that speaks the
// protocol and only pretends to compute: an answer's tokens come one a step, those of all streams of a step in one
// frame. Sides alternate within every round; medians and the range over the rounds are given.
//
// Usage: node bench/router-cost.mjs [--baseline DIR] [--rounds 5] [--only small,stream] [--out FILE]
//   DIR is a checkout that has been built (its dist folders are there).
//   small      a line of text, four tokens back, streamed
//   prompt4k   about 4,000 tokens of text, all different
//   picture8k  a picture of 8 KB that was never seen, as a data URI
//   picture1m  the same with 1 MB
//   stream     64 streams of 400 tokens at once; CPU per token
//   mixed      all of the above at once; the event loop's lag as the router's own metrics tell it, less the 10 ms
//              between their samples
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseOptions } from './options.mjs';
import { chat, driveClosed, line, longText, pictureBody } from './router/load.mjs';
import { startOurs } from './router/sides.mjs';
import { cpuSecondsOf } from './serving/process-tree.mjs';
import { rounded, roundedSpread } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
/** Of the worker that pretends: between two tokens of a stream. */
const PACE = { stepMs: 10, atOnce: false };

const get = (side, path) =>
  new Promise((ok, fail) => {
    http
      .get({ host: side.url.hostname, port: side.url.port, path }, (response) => {
        let text = '';
        response
          .on('data', (part) => (text += part))
          .on('end', () => ok({ status: response.statusCode, text }));
      })
      .on('error', fail);
  });

const CASES = {
  small: { requests: 400, at: 8, body: () => chat(line(), 4) },
  prompt4k: { requests: 60, at: 4, body: () => chat(longText(), 4) },
  picture8k: { requests: 200, at: 8, body: () => pictureBody(8_000) },
  picture1m: { requests: 40, at: 4, body: () => pictureBody(1_000_000) },
  stream: { requests: 64, at: 64, tokens: 400, body: () => chat(line(), 400) },
};

/** CPU per request in ms, or per token in µs where a case says how many it has. */
async function measure(side, one) {
  const before = cpuSecondsOf([side.pid]);
  await driveClosed(side.url, one);
  const seconds = cpuSecondsOf([side.pid]) - before;
  return one.tokens ? (seconds * 1e6) / (one.requests * one.tokens) : (seconds * 1e3) / one.requests;
}

/** Between two samples of Node's histogram, which counts them in: a loop that is never late has this lag. */
const SAMPLE_MS = 10;

/** The event loop's lag while everything runs at once, in ms: the router's own histogram since the last scrape. */
async function lag(side) {
  await get(side, '/metrics');
  const { small, prompt4k, picture8k, picture1m, stream } = CASES;
  await Promise.all([small, prompt4k, picture8k, picture1m, stream].map((one) => driveClosed(side.url, one)));
  const { text } = await get(side, '/metrics');
  const of = (name) => 1000 * Number(new RegExp(`^${name} (\\S+)`, 'm').exec(text)?.[1] ?? NaN) - SAMPLE_MS;
  return { p99: of('nodejs_eventloop_lag_p99_seconds'), max: of('nodejs_eventloop_lag_max_seconds') };
}

const commitOf = (root) =>
  execFileSync('git', ['-C', root, 'rev-parse', '--short', 'HEAD']).toString().trim();

async function main() {
  const { values } = parseOptions({
    options: {
      baseline: { type: 'string' },
      rounds: { type: 'string', default: '5' },
      only: { type: 'string', default: [...Object.keys(CASES), 'mixed'].join(',') },
      out: { type: 'string' },
    },
  });
  const names = values.only.split(',');
  const roots = { ...(values.baseline && { baseline: resolve(values.baseline) }), current: ROOT };
  for (const root of Object.values(roots))
    if (!existsSync(join(root, 'apps/router/dist/main.js'))) throw new Error(`${root} is not built`);
  const sides = await Promise.all(
    Object.entries(roots).map(([name, root]) => startOurs(name, { root, pace: PACE })),
  );
  const samples = {};
  const note = (name, side, value) => ((samples[name] ??= {})[side] ??= []).push(value);
  try {
    // the first round warms both up and counts for nothing
    for (let round = 0; round <= Number(values.rounds); round += 1) {
      for (const name of names) {
        for (const side of round % 2 ? sides : sides.toReversed()) {
          const value = name === 'mixed' ? await lag(side) : await measure(side, CASES[name]);
          if (round > 0) note(name, side.name, value);
        }
      }
    }
  } finally {
    await Promise.all(sides.map((side) => side.stop()));
  }
  const rows = names.map((name) => {
    const unit =
      name === 'mixed' ? 'ms lag, p99' : CASES[name].tokens ? 'µs CPU a token' : 'ms CPU a request';
    const of = (side) => samples[name][side]?.map((value) => (name === 'mixed' ? value.p99 : value));
    const [before, after] = [of('baseline'), of('current')];
    const ratio = before && roundedSpread(before.map((value, round) => value / after[round]));
    return {
      name,
      unit,
      ...(before && { baseline: roundedSpread(before), ratio }),
      current: roundedSpread(after),
    };
  });
  const result = {
    command: `node bench/router-cost.mjs ${process.argv
      .slice(2)
      .filter((word, at, all) => word !== '--out' && all[at - 1] !== '--out')
      .join(' ')}`,
    commits: Object.fromEntries(Object.entries(roots).map(([name, root]) => [name, commitOf(root)])),
    machine: `${cpus()[0].model}, ${cpus().length} cores`,
    load: loadavg().map(rounded),
    rows,
  };
  console.table(
    rows.map(({ name, unit, baseline, current, ratio }) => ({
      name,
      unit,
      baseline: baseline?.median,
      current: current.median,
      ratio: ratio?.median,
    })),
  );
  if (values.out) writeFileSync(values.out, `${JSON.stringify(result, undefined, 2)}\n`);
}

await main();
