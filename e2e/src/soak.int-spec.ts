import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Cluster, type Part, picture, quiet, until } from './harness.js';

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
/** What a heap may breathe between two collections, beside a leak of one page a request. */
const SLACK_MIB = 24;

let cluster: Cluster;
beforeAll(async () => {
  if (full) cluster = await Cluster.start({ workerArgs: ['--pool-mib', '16', '--encoder-cache-mib', '4'] });
});
afterAll(async () => {
  if (full) await cluster.stop();
});

const parts = (): readonly Part[] => [cluster.router, ...cluster.workers];

function residentMib({ process: { pid } }: Part): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
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

/** Medians at the begin (when pool, caches and heap have filled), in the middle and at the end. */
function course(values: readonly number[]): { begin: number; middle: number; end: number } {
  const around = (share: number): number => {
    const at = Math.floor(share * values.length);
    return median(values.slice(Math.max(0, at - SAMPLES / 10), at + SAMPLES / 10));
  };
  return { begin: around(0.35), middle: around(0.6), end: around(0.95) };
}

class Load {
  readonly statuses: Record<string, number> = {};
  requests = 0;

  /** Clients until then; resolves when all have their last answer. */
  async run(endMs: number): Promise<void> {
    const client = async (): Promise<void> => {
      while (Date.now() < endMs) {
        const status = await request((this.requests += 1));
        this.statuses[status] = (this.statuses[status] ?? 0) + 1;
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
  }
}

/** Of what runs: the work tree may move on meanwhile. */
const commit = full ? execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim() : '';

/** So far; the last sample's is the whole run's. */
async function report(
  load: Load,
  seconds: number,
  resident: Readonly<Record<string, object>>,
): Promise<object> {
  return {
    command: `KVCAPSULE_TEST_FULL=1 KVCAPSULE_SOAK_SECONDS=${String(SECONDS)} npx vitest run --config vitest.all.config.mts --project int:e2e e2e/src/soak.int-spec.ts`,
    commit,
    machine: `${String(cpus().length)} x ${cpus()[0]?.model ?? ''}`,
    loadAverage: loadavg()[0],
    seconds,
    requests: load.requests,
    statuses: load.statuses,
    promptTokens: await cluster.workerMetric(0, 'kvcapsule_worker_tokens_total{kind="prompt"}'),
    generatedTokens: await cluster.workerMetric(0, 'kvcapsule_worker_tokens_total{kind="completion"}'),
    residentMib: resident,
  };
}

describe.skipIf(!full)('router and worker under mixed load for long', () => {
  it(
    'keep their memory flat, and give back pages, leases and sockets',
    async () => {
      const end = Date.now() + SECONDS * 1000;
      const load = new Load();
      const clients = load.run(end);
      const resident = new Map(parts().map((part) => [part, [] as number[]]));
      const open: number[] = [];
      let told: object = {};
      let courses: Record<string, ReturnType<typeof course>> = {};
      while (Date.now() < end) {
        await sleep((SECONDS * 1000) / SAMPLES);
        for (const [part, values] of resident) values.push(residentMib(part));
        open.push(parts().reduce((sum, part) => sum + sockets(part), 0));
        courses = Object.fromEntries([...resident].map(([part, values]) => [part.name, course(values)]));
        told = await report(load, Math.round(SECONDS - (end - Date.now()) / 1000), courses);
        if (OUT !== undefined) writeFileSync(OUT, `${JSON.stringify(told, undefined, 2)}\n`);
      }
      await clients;
      for (const memory of Object.values(courses))
        expect(memory.end - memory.begin, JSON.stringify(told)).toBeLessThan(SLACK_MIB);
      expect(Object.keys(load.statuses).filter((status) => !['0', '200', '400'].includes(status))).toEqual(
        [],
      );
      await quiet(cluster);
      const { begin } = course(open);
      await until(
        () => parts().reduce((sum, part) => sum + sockets(part), 0) <= begin + SLACK_SOCKETS,
        30_000,
      );
    },
    (SECONDS + 180) * 1000,
  );
});
