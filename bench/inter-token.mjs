// What running streams feel while a big picture is encoded and prefilled: the p99 of the time between two tokens,
// beside that of quiet stretches of the same run. Through the API; streams and pictures are real requests.
//
// Usage: node bench/inter-token.mjs [--streams 4] [--rounds 48] [--chunk 32] [--pictures one|four]
//   one: a picture of 1,040 visual tokens (a copy of the demo model that cuts pictures into 8 x 8 tiles); its span
//   has no profile and stays raw. four: four pictures of 272 tokens in one request, kept as capsules.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChatClient } from '@kvcapsule/load/client';
import { ask, Cluster, MODEL_DIR, pngUri, ROOT } from '../e2e/dist/harness.js';
import { parseOptions } from './options.mjs';
import { countedQuartiles, median, quantile } from './statistics.mjs';

const { values } = parseOptions({
  options: {
    streams: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '48' },
    chunk: { type: 'string', default: '32' },
    pictures: { type: 'string', default: 'one' },
  },
});
const [streams, rounds] = [Number(values.streams), Number(values.rounds)];
const GROUPS = 8;
const big = values.pictures === 'one';
const edge = big ? 512 : 256;

const folder = mkdtempSync(join(tmpdir(), 'kvc-bench-'));
const model = join(folder, 'emoji-vlm');
cpSync(MODEL_DIR, model, { recursive: true });
if (big) {
  const file = join(model, 'preprocessor_config.json');
  const settings = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...settings, size: { longest_edge: edge } }));
}
const cluster = await Cluster.start({
  model,
  workerArgs: ['--pool-mib', '64', '--max-prefill-chunk', values.chunk],
});

/** On two busy cores a big picture takes a while before its first token. */
const SILENCE_MS = 300_000;
const client = new ChatClient({ baseUrl: `${cluster.url}/v1`, headers: {}, silenceMs: SILENCE_MS });

/** Streams one request; calls `onToken` with the time of each token. Resolves to the usage. */
function stream(body, onToken, signal) {
  const fields = { model: 'emoji-vlm', stream: true, stream_options: { include_usage: true } };
  return new Promise((ok, fail) => {
    let counted;
    const listener = {
      part: () => onToken(performance.now()),
      usage: (usage) => (counted = usage),
      end: (outcome) => (outcome === 'ok' ? ok(counted) : fail(new Error(outcome))),
    };
    const cancel = client.send(JSON.stringify({ ...fields, ...body }), listener, false);
    signal?.addEventListener('abort', cancel, { once: true });
  });
}

/** Gaps between the tokens of the streams: `[begin, end]` in ms. */
const gaps = [];
const stop = new AbortController();
let seed = 1;

async function keepStreaming() {
  while (!stop.signal.aborted) {
    let last;
    const body = {
      temperature: 1,
      seed: seed++,
      ignore_eos: true,
      max_tokens: 2000,
      messages: [ask('Hello!')],
    };
    await stream(
      body,
      (now) => {
        if (last !== undefined) gaps.push([last, now]);
        last = now;
      },
      stop.signal,
    ).catch((error) => {
      if (!stop.signal.aborted) throw error;
    });
  }
}

function randomPicture() {
  const pixels = Buffer.alloc(edge * edge * 3);
  const [r, g, b] = [seed * 37, seed * 91, seed * 53];
  for (let at = 0; at < pixels.length; at += 3) {
    pixels[at] = (r + (at >> 6)) & 255;
    pixels[at + 1] = (g + (at >> 9)) & 255;
    pixels[at + 2] = (b + at) & 255;
  }
  seed += 1;
  return pngUri(pixels, edge, edge);
}

const running = Array.from({ length: streams }, keepStreaming);
await sleep(2000);
/** `[begin, end]` of the time from sending a picture to its first token. */
const loaded = [];
let promptTokens;
for (let round = -2; round < rounds; round += 1) {
  const pictures = await Promise.all(Array.from({ length: big ? 1 : 4 }, randomPicture));
  // making the pictures took CPU from the streams: what is quiet begins later
  await sleep(250);
  const quietFrom = performance.now();
  await sleep(500);
  const from = performance.now();
  let first;
  const usage = await stream(
    { max_tokens: 1, messages: [ask('What is at A1?', ...pictures)] },
    (now) => (first ??= now),
  );
  promptTokens = usage.promptTokens;
  if (round >= 0) loaded.push({ quietFrom, from, to: first ?? performance.now() });
}
stop.abort();
await Promise.all(running);

/** Gaps of some rounds that touch the picture's time, and those of the quiet time before. */
function phases(some) {
  const parts = { quiet: [], loaded: [] };
  for (const { quietFrom, from, to } of some) {
    for (const [begin, end] of gaps) {
      if (end > from && begin < to) parts.loaded.push(end - begin);
      else if (begin >= quietFrom && end <= from) parts.quiet.push(end - begin);
    }
  }
  return parts;
}
const groups = Array.from({ length: GROUPS }, (_, group) =>
  phases(loaded.filter((_, index) => index % GROUPS === group)),
);
const p99 = (samples) => quantile(samples, 0.99);
const all = phases(loaded);
const result = {
  command: `node bench/inter-token.mjs --streams ${streams} --rounds ${rounds} --chunk ${values.chunk} --pictures ${values.pictures}`,
  commit: execFileSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT }).toString().trim(),
  machine: `${cpus()[0].model}, ${cpus().length} cores`,
  unit: 'ms',
  prompt_tokens: promptTokens,
  time_to_first_token: countedQuartiles(loaded.map(({ from, to }) => to - from)),
  quiet: {
    gaps: all.quiet.length,
    median: median(all.quiet),
    p99: p99(all.quiet),
    max: Math.max(...all.quiet),
  },
  loaded: {
    gaps: all.loaded.length,
    median: median(all.loaded),
    p99: p99(all.loaded),
    max: Math.max(...all.loaded),
  },
  p99_ratio: p99(all.loaded) / p99(all.quiet),
  p99_ratio_of_groups_of_rounds: countedQuartiles(
    groups.map(({ quiet, loaded }) => p99(loaded) / p99(quiet)),
  ),
};
console.log(JSON.stringify(result, undefined, 2));
const name = `inter-token-${values.pictures}-${values.chunk}.json`;
writeFileSync(join(ROOT, 'bench/results', name), `${JSON.stringify(result, undefined, 2)}\n`);
await client.close();
await cluster.stop();
rmSync(folder, { recursive: true });
