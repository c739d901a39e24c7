import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { createRedisClient, type RedisClient, RedisLedger, RedisRegistry } from '@kvcapsule/platform/redis';
import { type RedisServer, startRedis } from '@kvcapsule/platform/redis-server';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

import { openSimulatedModel, type SimulatedModel } from '../model/index.js';
import { type SimulatedWorkers, startSimulatedWorkers } from './simulated-workers.js';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

const ROOT = new URL('../../../../', import.meta.url);
const MODEL_DIR = fileURLToPath(new URL('deploy/models/emoji-vlm', ROOT));
const ROUTER = fileURLToPath(new URL('apps/router/dist/main.js', ROOT));
/** Above the longest step, which is the first, of 3.4 s, and below the whole prefill. */
const STALL_MS = 6_000;
/** A router leaves a worker by its silence after this. */
const SILENCE_MS = 5_000;
/** So slow that a prefill of a thousand tokens takes some fifteen seconds, in steps of two and more. */
const SLOWLY = 0.01;

let redis: RedisServer;
let client: RedisClient;
let model: SimulatedModel;
let fleet: SimulatedWorkers;
let router: ChildProcess;
let url: string;

beforeAll(async () => {
  model = await openSimulatedModel(MODEL_DIR);
});
afterAll(() => model.folder.dispose());

beforeEach(async () => {
  redis = await startRedis();
  client = await createRedisClient(redis.url);
});

afterEach(async () => {
  router.kill('SIGTERM');
  await once(router, 'exit');
  await fleet.close();
  client.disconnect();
  await redis.stop();
});

async function start(workers: number, speedup: number): Promise<void> {
  fleet = await startSimulatedWorkers(workers, {
    ...{ model, registry: new RedisRegistry(client), ledger: new RedisLedger(client) },
    ...{ logger: pino({ level: 'silent' }), idPrefix: 'sim-', host: '127.0.0.1' },
    ...{ speedup, poolBlocks: 512, answerTokens: 40 },
  });
  const flags = ['--redis', redis.url, '--model', MODEL_DIR, '--worker-stall-ms', String(STALL_MS)];
  router = spawn(process.execPath, [ROUTER, '--port', '0', ...flags], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  if (!router.stdout) throw new Error('the router has an output');
  const [line] = (await once(createInterface({ input: router.stdout }), 'line')) as [string];
  ({ url } = JSON.parse(line) as { url: string });
}

interface Answered {
  readonly choices: readonly { readonly message: { readonly content: string } }[];
  readonly usage: { readonly prompt_tokens: number };
}

/** A prompt of a thousand tokens and some; a salt keeps two of them from one another's cache. */
async function askAtLength(cacheSalt: string) {
  const beganMs = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      ...{ model: 'emoji-vlm', temperature: 0, max_tokens: 4, ignore_eos: true, cache_salt: cacheSalt },
      messages: [{ role: 'user', content: 'What is it that is in the picture? '.repeat(100) }],
    }),
  });
  const tookMs = performance.now() - beganMs;
  const { choices, usage } = (await response.json()) as Answered;
  const text = choices[0]?.message.content;
  return { status: response.status, text, promptTokens: usage.prompt_tokens, tookMs };
}

/** The next step of the first worker that begins one ends when what is returned is called. */
function hangNextStep(): () => void {
  let letGo: () => void = () => undefined;
  const steps = fleet.workers.map(({ engine }) => vi.spyOn(engine, 'step'));
  steps.forEach((step, index) =>
    step.mockImplementationOnce((plan) => {
      for (const each of steps) each.mockRestore();
      return new Promise((resolve, reject) => {
        letGo = () => void fleet.workers[index]?.engine.step(plan).then(resolve, reject);
      });
    }),
  );
  return () => {
    letGo();
  };
}

async function failovers(): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const samples = text.matchAll(/^kvcapsule_router_failovers_total\{[^}]*\} (\d+)$/gm);
  return [...samples].reduce((sum, [, count]) => sum + Number(count), 0);
}

describe('a worker whose prefill says nothing for longer than a worker may be silent', () => {
  it('is not left while its engine finishes a step now and then', async () => {
    await start(1, SLOWLY);
    const { status, promptTokens, tookMs } = await askAtLength('slow');
    expect([status, await failovers()]).toEqual([200, 0]);
    expect(promptTokens).toBeGreaterThan(800);
    expect(tookMs).toBeGreaterThan(2 * Math.max(STALL_MS, SILENCE_MS));
  });

  it('is left when its engine finishes none, and another one answers the same', async () => {
    await start(2, 1);
    const { text } = await askAtLength('undisturbed');
    const letGo = hangNextStep();
    const asked = askAtLength('hung');
    const answer = await asked;
    expect(answer).toMatchObject({ status: 200, text });
    expect(await failovers()).toBe(1);
    expect(answer.tookMs).toBeGreaterThan(STALL_MS);
    // it is looked for every second, and the machine may be busy
    expect(answer.tookMs).toBeLessThan(2 * STALL_MS);
    letGo();
  });
});
