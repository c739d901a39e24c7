import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { WorkerServiceClient } from '@kvcapsule/contracts/worker';
import { openModelFolder } from '@kvcapsule/model';
import { type RedisServer, startRedis } from '@kvcapsule/platform/redis-server';
import { createRpcClient } from '@kvcapsule/platform/rpc';
import { SMOLVLM_256M, writeSmolVlmFolder } from '@kvcapsule/testing/models';
import { encodePng } from '@kvcapsule/testing/pictures';
import { type Asking, GREEDY, RouterSide } from '@kvcapsule/worker-runtime/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';

const MAIN = new URL('../../dist/main.js', import.meta.url).pathname;
/** Half a gigabyte of weights and three thousand tokens on two cores that others use as well. */
const TIMEOUT_MS = 600_000;
/** The pool has 182 blocks of 16 tokens, which one prompt fills; its pictures and its texts begin one each. */
const SIZES = ['--pool-mib', '64', '--swap-mib', '0', '--encoder-cache-mib', '1'];
const PROMPT_TOKENS = 2840;

let dir: string;
let redis: RedisServer;
let worker: ChildProcess;
let metricsUrl: string;
let router: RouterSide;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kvcapsule-real-size-'));
  await writeSmolVlmFolder(dir, SMOLVLM_256M);
  redis = await startRedis();
  worker = spawn(process.execPath, [MAIN, '--model', dir, '--redis', redis.url, ...SIZES], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (!worker.stdout) throw new Error('no stdout');
  const [line] = (await once(createInterface({ input: worker.stdout }), 'line')) as [string];
  const ready = JSON.parse(line) as { address: string; metrics: string };
  metricsUrl = ready.metrics;
  router = new RouterSide(createRpcClient(WorkerServiceClient, ready.address));
}, TIMEOUT_MS);

afterAll(async () => {
  worker.kill('SIGKILL');
  await redis.stop();
  await rm(dir, { recursive: true });
});

/** Of the worker's process, in bytes. */
async function peakBytes(): Promise<number> {
  const status = await readFile(`/proc/${worker.pid ?? 0}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

async function plannedBytes(): Promise<number> {
  const text = await (await fetch(metricsUrl)).text();
  const parts = [...text.matchAll(/^kvcapsule_worker_memory_plan_bytes\{part="\w+"\} (\d+)$/gm)];
  expect(parts.length).toBeGreaterThan(5);
  return parts.reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}

/** Two pictures of one tile each, then text until the pool is full. */
async function fullPrompt(): Promise<Asking> {
  const folder = await openModelFolder(dir);
  const { tokenIds: span } = folder.pictureSpan(640, 480);
  await folder.dispose();
  const files = [0, 1].map((shade) =>
    encodePng({
      ...{ width: 640, height: 480, colour: 'rgb', bitDepth: 8 },
      samples: new Uint8Array(640 * 480 * 3).fill(40 * shade),
    }),
  );
  const text = Array.from({ length: PROMPT_TOKENS - files.length * span.length }, (_, at) => 40 + (at % 40));
  return {
    ...{
      requestId: 'full',
      lease: undefined,
      sampling: { ...GREEDY, ignoreEos: true },
      kvCodec: '',
      priority: 0,
      cacheSalt: '',
    },
    ...{ maxTokens: 2, stop: [], remainingMs: 0n, resumedTokenIds: [] },
    tokenIds: [...files.flatMap(() => [...span]), ...text],
    pictures: files.map((encoded, index) => ({
      ...{ encoded, offset: index * span.length, length: span.length, param: `messages.0.content.${index}` },
      contentSha256: createHash('sha256').update(encoded).digest(),
    })),
  };
}

it(
  'takes the memory that it has planned, and no more while it loads',
  async () => {
    const planned = await plannedBytes();
    expect((await peakBytes()) / planned).toBeLessThan(1);
    const died = once(worker, 'exit').then(([code, signal]) => {
      throw new Error(`the worker ended with ${String(code ?? signal)}`);
    });
    const { error, tokenIds } = await Promise.race([router.ask(await fullPrompt()), died]);
    expect([error, tokenIds.length]).toEqual([undefined, 2]);
    const share = (await peakBytes()) / planned;
    expect(share).toBeGreaterThan(0.9);
    expect(share).toBeLessThan(1.1);
  },
  TIMEOUT_MS,
);
