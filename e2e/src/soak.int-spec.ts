import { execFileSync } from 'node:child_process';
import { readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Cluster, type Part, picture, quiet, sampleOf, until } from './harness.js';
import { attack } from './hostile-clients.js';

/**
 * Runs in `./kvcapsule test --full`; `KVCAPSULE_SOAK_SECONDS` makes it longer or shorter, `KVCAPSULE_SOAK_OUT` names a
 * JSON file for its numbers.
 */
const full = process.env['KVCAPSULE_TEST_FULL'] === '1';
const SECONDS = Number(process.env['KVCAPSULE_SOAK_SECONDS'] ?? 3600);
const OUT = process.env['KVCAPSULE_SOAK_OUT'];
const CLIENTS = 6;
const SAMPLES = 200;
/** Connections between the parts themselves may come and go a little; one a request may not stay. */
const SLACK_SOCKETS = 8;
/** What may come and go beside a leak: half a kilobyte a request, in an hour. */
const SLACK_MIB = 24;
const EXPECTED = ['200', '400', 'aborted'];
/** The longest that the event loop may have stood still at one time, by the router's own histogram: on a busy machine. */
const MAX_STANDSTILL_SECONDS = 1;
/** As a client of OpenAI's does. */
const MAX_TRIES = 8;
const MIB = 2 ** 20;

let cluster: Cluster;
beforeAll(async () => {
  if (!full) return;
  cluster = await Cluster.start({
    workerArgs: ['--pool-mib', '16', '--encoder-cache-mib', '4'],
    // Otherwise V8 takes up to 128 MiB for young objects in a busy minute, and a leak could hide in that.
    nodeArgs: ['--max-semi-space-size=8'],
  });
});
afterAll(async () => {
  if (full) await cluster.stop();
});

const parts = (): readonly Part[] => [cluster.router, ...cluster.workers];

/**
 * One part's memory in MiB. V8 lets its heap grow before it collects, so what JavaScript holds is told by the heap's
 * use, low after a collection, and what everything else holds by the rest of the process.
 */
interface Memory {
  readonly resident: number;
  readonly heapUsed: number;
  readonly outsideHeap: number;
}

async function memoryOf(part: Part): Promise<Memory> {
  const url = part.ready['metrics'] ?? `${cluster.url}/metrics`;
  const text = await (await fetch(url)).text();
  const [resident, heapTotal, heapUsed] = [
    'process_resident_memory_bytes',
    'nodejs_heap_size_total_bytes',
    'nodejs_heap_size_used_bytes',
  ].map((name) => sampleOf(text, name) / MIB) as [number, number, number];
  return { resident, heapUsed, outsideHeap: resident - heapTotal };
}

function sockets({ process: { pid } }: Part): number {
  const folder = `/proc/${String(pid)}/fd`;
  const targets = readdirSync(folder).map((fd) => {
    try {
      return readlinkSync(`${folder}/${fd}`);
    } catch {
      return ''; // closed since
    }
  });
  return targets.filter((target) => target.startsWith('socket:')).length;
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
async function bodyOf(seed: number): Promise<object> {
  const kind = seed % 7;
  const pictures =
    kind === 1
      ? [picture('a')]
      : kind === 2
        ? [await newPicture(seed)]
        : kind === 3
          ? await Promise.all([0, 1, 2, 3].map((at) => newPicture(seed * 4 + at)))
          : [];
  return {
    model: 'emoji-vlm',
    stream: kind === 5,
    messages: [ask(kind === 0 ? 'Hello! '.repeat(1 + (seed % 50)) : 'What is at A1?', ...pictures)],
    ...{ temperature: kind === 6 ? -1 : 1, seed, max_tokens: 1 + (seed % 120) },
  };
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** At the begin (when pool, caches and heap have filled), in the middle and at the end. */
interface Course {
  readonly begin: number;
  readonly middle: number;
  readonly end: number;
}

function courseOf(values: readonly number[], of: (values: readonly number[]) => number): Course {
  const around = (share: number): number => {
    const at = Math.floor(share * values.length);
    return of(values.slice(Math.max(0, at - SAMPLES / 10), at + SAMPLES / 10));
  };
  return { begin: around(0.35), middle: around(0.6), end: around(0.95) };
}

const round = (mib: number): number => Math.round(mib * 10) / 10;
const lowest = (values: readonly number[]): number => round(Math.min(...values));
const middling = (values: readonly number[]): number => round(median(values));

function memoryCourse(samples: readonly Memory[]): Record<keyof Memory, Course> {
  const values = (key: keyof Memory) => samples.map((sample) => sample[key]);
  return {
    resident: courseOf(values('resident'), middling),
    heapUsed: courseOf(values('heapUsed'), lowest),
    outsideHeap: courseOf(values('outsideHeap'), middling),
  };
}

class Load {
  /** How requests ended: their status, with the error's code where the mix does not ask for an error. */
  readonly endings: Record<string, number> = {};
  /** Answers after which the client waited as long as it was told to, and asked again. */
  readonly askedAgain: Record<string, number> = {};
  requests = 0;

  /** Clients until then; resolves when all have their last answer. */
  async run(endMs: number): Promise<void> {
    const client = async (): Promise<void> => {
      while (Date.now() < endMs) count(this.endings, await this.#request((this.requests += 1)));
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
  }

  async #request(seed: number): Promise<string> {
    const body = await bodyOf(seed);
    const leaves = seed % 7 === 5;
    for (let tries = 1; ; tries += 1) {
      const signal = leaves ? AbortSignal.timeout(20 + (seed % 200)) : null;
      try {
        const response = await cluster.chat(body, { signal });
        const text = await response.text();
        if (EXPECTED.includes(String(response.status))) return String(response.status);
        const { error } = JSON.parse(text) as { error: { code: string } };
        const ending = `${String(response.status)} ${error.code}`;
        const waitMs = Number(response.headers.get('retry-after-ms') ?? NaN);
        if (Number.isNaN(waitMs) || tries === MAX_TRIES) return ending;
        count(this.askedAgain, ending);
        await sleep(waitMs);
      } catch (error) {
        if (leaves) return 'aborted';
        throw error;
      }
    }
  }
}

function count(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1;
}

/** Of what runs: the work tree may move on meanwhile. */
const commit = full ? execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim() : '';

/** So far; the last sample's is the whole run's. */
async function report(load: Load, seconds: number, memory: Readonly<Record<string, object>>) {
  return {
    command: `KVCAPSULE_TEST_FULL=1 KVCAPSULE_SOAK_SECONDS=${String(SECONDS)} npx vitest run --config vitest.all.config.mts --project int:e2e e2e/src/soak.int-spec.ts`,
    commit,
    machine: `${String(cpus().length)} x ${cpus()[0]?.model ?? ''}`,
    loadAverage: loadavg()[0],
    seconds,
    requests: load.requests,
    endings: load.endings,
    askedAgain: load.askedAgain,
    promptTokens: await cluster.workerMetric(0, 'kvcapsule_worker_tokens_total{kind="prompt"}'),
    generatedTokens: await cluster.workerMetric(0, 'kvcapsule_worker_tokens_total{kind="completion"}'),
    memoryMib: memory,
  };
}

describe.skipIf(!full)('router and worker under mixed load and hostile clients for long', () => {
  it(
    'keep their memory flat, and give back pages, leases and sockets',
    async () => {
      const end = Date.now() + SECONDS * 1000;
      const load = new Load();
      const clients = load.run(end);
      const attacks = attack(cluster.url, end);
      const samples = new Map(parts().map((part) => [part, [] as Memory[]]));
      const open: number[] = [];
      const standstill: number[] = [];
      const tell = async (more: object = {}) => {
        const memory = Object.fromEntries(
          [...samples].map(([part, values]) => [part.name, memoryCourse(values)]),
        );
        const told = await report(load, Math.round(SECONDS - (end - Date.now()) / 1000), memory);
        if (OUT !== undefined) writeFileSync(OUT, `${JSON.stringify({ ...told, ...more }, undefined, 2)}\n`);
        return { memory, text: JSON.stringify(told) };
      };
      while (Date.now() < end) {
        await sleep((SECONDS * 1000) / SAMPLES);
        for (const [part, values] of samples) values.push(await memoryOf(part));
        standstill.push(
          sampleOf(await (await fetch(`${cluster.url}/metrics`)).text(), 'nodejs_eventloop_lag_p99_seconds'),
        );
        open.push(parts().reduce((sum, part) => sum + sockets(part), 0));
        await tell();
      }
      await clients;
      const attacked = await attacks;
      expect(median(standstill)).toBeLessThan(MAX_STANDSTILL_SECONDS);
      const { memory, text } = await tell();
      for (const { heapUsed, outsideHeap } of Object.values(memory)) {
        expect(heapUsed.end - heapUsed.begin, text).toBeLessThan(SLACK_MIB);
        expect(outsideHeap.end - outsideHeap.begin, text).toBeLessThan(SLACK_MIB);
      }
      expect(
        Object.keys(load.endings).filter((ending) => !EXPECTED.includes(ending)),
        text,
      ).toEqual([]);
      const rest = await quiet(cluster);
      const { begin } = courseOf(open, median);
      const left = () => parts().reduce((sum, part) => sum + sockets(part), 0);
      await until(() => left() <= begin + SLACK_SOCKETS, 30_000);
      await tell({
        afterwards: { ...rest, sockets: left(), socketsUnderLoad: begin },
        ...{
          attacks: attacked,
          eventLoopLagP99Seconds: { median: median(standstill), most: Math.max(...standstill) },
        },
      });
    },
    (SECONDS + 180) * 1000,
  );
});
