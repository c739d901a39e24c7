import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { createRedisClient, type RedisClient, RedisLedger, RedisRegistry } from '@kvcapsule/platform/redis';
import { type RedisServer, startRedis } from '@kvcapsule/platform/redis-server';
import { encodePng } from '@kvcapsule/testing/pictures';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import { openSimulatedModel, type SimulatedModel } from '../model/index.js';
import { type SimulatedWorkers, startSimulatedWorkers } from './simulated-workers.js';

vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 });

const ROOT = new URL('../../../../', import.meta.url);
const MODEL_DIR = fileURLToPath(new URL('deploy/models/emoji-vlm', ROOT));
const ROUTER = fileURLToPath(new URL('apps/router/dist/main.js', ROOT));
const WORKERS = 20;
const REQUESTS = 300;

let redis: RedisServer;
let client: RedisClient;
let model: SimulatedModel;
let fleet: SimulatedWorkers;
let router: ChildProcess;
let url: string;

beforeAll(async () => {
  redis = await startRedis();
  client = await createRedisClient(redis.url);
  model = await openSimulatedModel(MODEL_DIR);
  fleet = await startSimulatedWorkers(WORKERS, {
    ...{ model, registry: new RedisRegistry(client), ledger: new RedisLedger(client) },
    ...{ logger: pino({ level: 'silent' }), idPrefix: 'sim-', host: '127.0.0.1' },
    ...{ speedup: 10, poolBlocks: 64, answerTokens: 40 },
  });
  const args = ['--port', '0', '--redis', redis.url, '--model', MODEL_DIR, '--queue-size', String(REQUESTS)];
  router = spawn(process.execPath, [ROUTER, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  if (!router.stdout) throw new Error('the router has an output');
  const [line] = (await once(createInterface({ input: router.stdout }), 'line')) as [string];
  ({ url } = JSON.parse(line) as { url: string });
});

afterAll(async () => {
  router.kill('SIGTERM');
  await once(router, 'exit');
  await fleet.close();
  await model.folder.dispose();
  client.disconnect();
  await redis.stop();
});

function pictureOf(shade: number): string {
  const samples = new Uint8Array(64 * 64).fill(shade);
  const png = encodePng({ width: 64, height: 64, colour: 'grey', bitDepth: 8, samples });
  return `data:image/png;base64,${png.toString('base64')}`;
}

/** Every third shows one of five pictures; answers are of up to forty tokens. */
function bodyOf(index: number): object {
  const text = { type: 'text', text: `Question number ${index % 60}: what is it?` };
  const shown = index % 3 === 0 ? [{ type: 'image_url', image_url: { url: pictureOf(index % 5) } }] : [];
  return {
    ...{ model: 'emoji-vlm', temperature: 1, seed: index % 60, max_tokens: 1 + (index % 40) },
    messages: [{ role: 'user', content: [...shown, text] }],
  };
}

interface Answered {
  readonly choices: readonly {
    readonly message: { readonly content: string };
    readonly finish_reason: string;
  }[];
}

const post = (body: object, signal?: AbortSignal): Promise<Response> =>
  fetch(`${url}/v1/chat/completions`, {
    ...{ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) },
    ...(signal && { signal }),
  });

async function answerTo(body: object): Promise<string> {
  const response = await post(body);
  expect(response.status).toBe(200);
  const { choices } = (await response.json()) as Answered;
  return JSON.stringify(choices[0]);
}

async function heldOf(id: string): Promise<number> {
  const account = await new RedisLedger(client).account(id);
  return (account?.leases ?? NaN) + (account?.reservedPages ?? NaN) + (account?.committedPages ?? NaN);
}

/** Nothing runs, no page is held, nothing is leased. */
async function untilQuiet(): Promise<void> {
  await vi.waitFor(
    async () => {
      for (const { id, serving } of fleet.workers) {
        const { freePages, capacityPages } = serving.scheduler.pool;
        const held = { pages: capacityPages - freePages, requests: serving.running + serving.waiting };
        expect({ id, ...held, leases: await heldOf(id) }).toEqual({ id, pages: 0, requests: 0, leases: 0 });
      }
    },
    { timeout: 30_000, interval: 200 },
  );
}

describe('a router beside simulated workers', () => {
  it('has every request answered, the same ones alike, and everything given back', async () => {
    const answers = await Promise.all(
      Array.from({ length: REQUESTS }, (_, index) => answerTo(bodyOf(index))),
    );
    // sixty questions times pictures or none, and limits: the same body has the same answer wherever it went
    const byBody = new Map<string, Set<string>>();
    answers.forEach((answer, index) => {
      const body = JSON.stringify(bodyOf(index));
      byBody.set(body, (byBody.get(body) ?? new Set()).add(answer));
    });
    expect(byBody.size).toBeLessThan(REQUESTS);
    expect([...byBody.values()].map(({ size }) => size)).toEqual([...byBody].map(() => 1));
    const used = fleet.workers.filter(({ engine }) => engine.pictures > 0);
    expect(used.length).toBeGreaterThan(1);
    await untilQuiet();
  });

  it('gives everything back of requests whose clients have gone', async () => {
    await Promise.all(
      Array.from({ length: REQUESTS / 2 }, async (_, index) => {
        const controller = new AbortController();
        const asked = post({ ...bodyOf(index), max_tokens: 400, stream: true }, controller.signal)
          .then((response) => response.text())
          .catch(() => 'gone');
        setTimeout(
          () => {
            controller.abort();
          },
          (index * 37) % 400,
        );
        await asked;
      }),
    );
    await untilQuiet();
  });
});
