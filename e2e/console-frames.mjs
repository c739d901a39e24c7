// Frame times of the console with many workers, whose router is played here: each tick a share of them changes.
// node e2e/console-frames.mjs [--workers 1000] [--changed 500] [--seconds 15]
import { execFileSync } from 'node:child_process';
import { createReadStream, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { cpus } from 'node:os';
import { extname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const { values } = parseArgs({
  options: {
    workers: { type: 'string', default: '1000' },
    changed: { type: 'string', default: '500' },
    seconds: { type: 'string', default: '15' },
  },
});
const [count, changed, seconds] = [values.workers, values.changed, values.seconds].map(Number);
const DIST = resolve(import.meta.dirname, '../apps/console/dist');
const TYPES = {
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.woff2': 'font/woff2',
  '.svg': 'image/svg+xml',
};
const TICK_MS = 500;

const workerOf = (at, round) => {
  const used = (at * 37 + round * 101) % 3_000;
  const [raw, capsule, cached] = [used >> 2, used >> 1, used >> 2];
  return {
    ...{
      id: `worker-${at}`,
      epoch: 1,
      model: 'emoji-vlm',
      address: null,
      state: at % 97 === 5 ? 'away' : 'ready',
    },
    ...{ breaker: 'closed', codec: 'capsule', running: (at + round) % 9, waiting: 0, max_running: 256 },
    ...{ pages: 4_096, page_bytes: 2_048, leased_pages: used, tokens_per_second: 40, silent_seconds: 0 },
    held: {
      ...{ raw, capsule, cached, free: 4_096 - raw - capsule - cached, swapped: 0 },
      ...{ stored_bytes: used * 2_048, raw_bytes: used * 5_000 },
    },
  };
};

const totals = {
  ...{
    workers: { ready: count, draining: 0, failed: 0, stalled: 0, away: 0 },
    running: 4_000,
    waiting: 0,
    queued: 0,
  },
  ...{ pages: 4_096 * count, leased_pages: 1_500 * count, saved_bytes: 4e9, tokens_per_second: 40_000 },
  held: { raw: 1, capsule: 1, cached: 1, free: 1, swapped: 0, stored_bytes: 3e9, raw_bytes: 7e9 },
};
const point = () => ({
  ...{ at: Date.now() / 1_000, tokens_per_second: 4e4 * (1 + Math.sin(Date.now() / 3_000) / 9) },
  ...{ running: 4_000, waiting: 0, queued: 0, stored_bytes: 3e9, raw_bytes: 7e9 },
  ...{ time_to_first_token: { p50: 0.2, p95: 0.6 }, inter_token_latency: { p50: 0.03, p95: 0.06 } },
});
const router = { started_at: 0, draining: false, routers: 1, store_answers: true };

function stream(response) {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const workers = Array.from({ length: count }, (_, at) => workerOf(at, 0));
  const history = Array.from({ length: 150 }, (_, at) => ({
    ...point(),
    at: Date.now() / 1_000 - 2 * (150 - at),
  }));
  const snapshot = { object: 'cluster', at: 0, router, totals, workers, requests: [], history };
  response.write(`event: snapshot\ndata: ${JSON.stringify(snapshot)}\n\n`);
  let round = 0;
  const timer = setInterval(() => {
    round += 1;
    const news = Array.from({ length: changed }, (_, at) => workerOf((at + round * changed) % count, round));
    const delta = { object: 'cluster.delta', at: round, totals, workers: news, points: [point()] };
    response.write(`event: delta\ndata: ${JSON.stringify(delta)}\n\n`);
  }, TICK_MS);
  response.on('close', () => clearInterval(timer));
}

const server = createServer((request, response) => {
  const path = new URL(request.url, 'http://x').pathname;
  if (path === '/v1/cluster/events') return stream(response);
  if (path === '/') return response.end(readFileSync(join(DIST, 'index.html')));
  response.setHeader('content-type', TYPES[extname(path)] ?? 'application/octet-stream');
  createReadStream(join(DIST, path))
    .on('error', () => response.writeHead(404).end())
    .pipe(response);
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu'],
});
const page = await browser.newPage({ viewport: { width: 1_280, height: 800 } });
await page.goto(`http://127.0.0.1:${server.address().port}/`);
await page.getByRole('slider').waitFor();
const frames = await page.evaluate(
  (ms) =>
    new Promise((done) => {
      const times = [];
      let last = performance.now();
      const end = last + ms;
      const frame = (now) => {
        times.push(now - last);
        last = now;
        if (now < end) requestAnimationFrame(frame);
        else done(times);
      };
      requestAnimationFrame(frame);
    }),
  seconds * 1_000,
);
await browser.close();
server.closeAllConnections();
server.close();

const sorted = frames.toSorted((a, b) => a - b);
const at = (share) =>
  Number((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0).toFixed(1));
const git = (...args) => execFileSync('git', args, { encoding: 'utf8' }).trim();
console.log(
  JSON.stringify(
    {
      command: `node e2e/console-frames.mjs --workers ${count} --changed ${changed} --seconds ${seconds}`,
      machine: `${cpus()[0]?.model ?? ''}, ${cpus().length} cores, no GPU`,
      commit: git('rev-parse', '--short', 'HEAD'),
      ...{ workers: count, changed_workers_per_event: changed, events_per_second: 1_000 / TICK_MS },
      frames: frames.length,
      frame_ms: { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) },
      share_over_50_ms: Number((frames.filter((ms) => ms > 50).length / frames.length).toFixed(4)),
    },
    undefined,
    2,
  ),
);
