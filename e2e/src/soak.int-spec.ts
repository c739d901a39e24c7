import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Cluster, picture, until } from './harness.js';

/** Runs in `./kvcapsule test --full`; `KVCAPSULE_SOAK_SECONDS` makes it longer or shorter. */
const full = process.env['KVCAPSULE_TEST_FULL'] === '1';
const SECONDS = Number(process.env['KVCAPSULE_SOAK_SECONDS'] ?? 3600);
const CLIENTS = 6;
const SAMPLES = 200;
/** What a heap may breathe between two collections, beside a leak of one page a request. */
const SLACK_MIB = 24;

let cluster: Cluster;
beforeAll(async () => {
  if (full) cluster = await Cluster.start({ workerArgs: ['--pool-mib', '16', '--encoder-cache-mib', '4'] });
});
afterAll(async () => {
  if (full) await cluster.stop();
});

function residentMib(): number {
  const status = readFileSync(`/proc/${String(cluster.workers[0]?.process.pid)}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}

/** A picture that nobody has sent before. */
async function newPicture(seed: number): Promise<string> {
  const [width, height] = [64 + (seed % 200), 64 + ((seed * 7) % 200)];
  const background = { r: seed % 256, g: (seed >> 3) % 256, b: (seed >> 6) % 256 };
  const png = await sharp({ create: { width, height, channels: 3, background } })
    .png()
    .toBuffer();
  return `data:image/png;base64,${png.toString('base64')}`;
}

/** One request of the mix: text, a known picture, a new one, four, a bad one, or one whose client goes away. */
async function request(seed: number): Promise<number> {
  const kind = seed % 7;
  const pictures =
    kind === 1
      ? [picture('a')]
      : kind === 2
        ? [await newPicture(seed)]
        : kind === 3
          ? await Promise.all([0, 1, 2, 3].map((at) => newPicture(seed * 4 + at)))
          : [];
  const body = {
    model: 'emoji-vlm',
    stream: kind === 5,
    messages: [ask(kind === 0 ? 'Hello! '.repeat(1 + (seed % 50)) : 'What is at A1?', ...pictures)],
    ...{ temperature: kind === 6 ? -1 : 1, seed, max_tokens: 1 + (seed % 120) },
  };
  const signal = kind === 5 ? AbortSignal.timeout(20 + (seed % 200)) : null;
  try {
    const response = await cluster.chat(body, { signal });
    await response.text();
    return response.status;
  } catch (error) {
    if (kind === 5) return 0;
    throw error;
  }
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

describe.skipIf(!full)('a worker under mixed load for long', () => {
  it(
    'keeps its memory flat, its pages whole and its counts right',
    async () => {
      const end = Date.now() + SECONDS * 1000;
      const statuses = new Map<number, number>();
      let seed = 0;
      const client = async (): Promise<void> => {
        while (Date.now() < end) {
          const status = await request((seed += 1));
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
        }
      };
      const clients = Promise.all(Array.from({ length: CLIENTS }, client));
      const resident: number[] = [];
      while (Date.now() < end) {
        await sleep((SECONDS * 1000) / SAMPLES);
        resident.push(residentMib());
      }
      await clients;
      // the first quarter fills pool, caches and heap
      const early = median(resident.slice(SAMPLES / 4, SAMPLES / 2));
      const late = median(resident.slice(-SAMPLES / 4));
      const told = `${String(seed)} requests, resident MiB: ${early.toFixed(0)}, then ${late.toFixed(0)}`;
      expect(late - early, told).toBeLessThan(SLACK_MIB);
      expect([...statuses.keys()].filter((status) => ![0, 200, 400].includes(status))).toEqual([]);
      await until(async () => (await cluster.workerMetric(0, 'kvcapsule_worker_pages_held')) === 0, 10_000);
      expect(await cluster.workerMetric(0, 'kvcapsule_worker_requests_running')).toBe(0);
    },
    (SECONDS + 120) * 1000,
  );
});
