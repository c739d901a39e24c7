import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';

import { FinishReason, WorkerServiceClient } from '@kvcapsule/contracts/worker';
import { createRedisClient, RedisLedger, RedisRegistry } from '@kvcapsule/platform/redis';
import { type RedisServer, startRedis } from '@kvcapsule/platform/redis-server';
import { createRpcClient } from '@kvcapsule/platform/rpc';
import { workersOf } from '@kvcapsule/testing/ports';
import { type Asking, GREEDY, RouterSide, until } from '@kvcapsule/worker-runtime/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';

const MAIN = new URL('../dist/main.js', import.meta.url).pathname;
const MODEL_DIR = new URL('../../../deploy/models/emoji-vlm', import.meta.url).pathname;
/** Two cores that others use as well. */
const TIMEOUT_MS = 60_000;
/** `<|bos|><|user|>Hello!<|end|><|assistant|>`, which the demo model answers for as long as it may. */
const HELLO = [1, 3, 719, 25, 2, 4];

interface GoldenFile {
  readonly cases: readonly {
    readonly pictures: readonly string[];
    readonly input_ids: number[];
    readonly answer_ids: number[];
  }[];
}

let redis: RedisServer;
let worker: ChildProcess;
let ready: Record<string, unknown>;
let router: RouterSide;
let registry: RedisRegistry;
let ledger: RedisLedger;
let disconnect: () => void;

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn(process.execPath, [MAIN, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function readyLine({ stdout, stderr }: ChildProcess): Promise<Record<string, unknown>> {
  stderr?.resume();
  if (!stdout) throw new Error('no stdout');
  const [line] = (await once(createInterface({ input: stdout }), 'line')) as [string];
  return JSON.parse(line) as Record<string, unknown>;
}

function hello(requestId: string, maxTokens: number, lease?: Asking['lease']): Asking {
  return {
    requestId,
    lease,
    tokenIds: HELLO,
    pictures: [],
    sampling: GREEDY,
    kvCodec: '',
    priority: 0,
    cacheSalt: '',
    maxTokens,
    stop: [],
    remainingMs: 0n,
    resumedTokenIds: [],
  };
}

async function record(id: string) {
  return (await workersOf(registry).catch(() => [])).find(({ workerId }) => workerId === id);
}

async function untilRecord(id = 'w1'): Promise<NonNullable<Awaited<ReturnType<typeof record>>>> {
  let found = await record(id);
  const end = Date.now() + 10_000;
  while (!found && Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    found = await record(id);
  }
  if (!found) throw new Error('the worker is not registered');
  return found;
}

beforeAll(async () => {
  redis = await startRedis();
  const args = ['--model', MODEL_DIR, '--id', 'w1', '--pool-mib', '16', '--codec', 'raw'];
  worker = start(args, { KVCAPSULE_REDIS: redis.url });
  ready = await readyLine(worker);
  router = new RouterSide(createRpcClient(WorkerServiceClient, String(ready['address'])));
  const client = await createRedisClient(redis.url);
  registry = new RedisRegistry(client);
  ledger = new RedisLedger(client);
  disconnect = () => {
    client.disconnect();
  };
}, TIMEOUT_MS);

afterAll(async () => {
  disconnect();
  worker.kill('SIGKILL');
  await redis.stop();
});

it('says where it listens, and registers itself there', async () => {
  expect(ready).toMatchObject({ event: 'ready' });
  expect((await untilRecord()).address).toBe(ready['address']);
  const metrics = await (await fetch(String(ready['metrics']))).text();
  expect(metrics).toContain('kvcapsule_worker_pages{state="free"}');
});

it(
  'takes a lease over and gives it back',
  async () => {
    const { epoch, workerId, capacityPages } = await untilRecord();
    const key = { workerId, epoch, leaseId: 'l' };
    await ledger.reserve(key, 16);
    router.send(hello('a', 100, { leaseId: 'l', epoch: BigInt(epoch), pages: 16, provisional: false }));
    await until(() => router.eventsOf('a').length > 2);
    expect(await ledger.account(workerId)).toMatchObject({ capacityPages, reservedPages: 0, leases: 1 });
    const { finished, tokenIds } = await router.answer('a');
    expect([finished?.reason, tokenIds.length]).toEqual([FinishReason.FINISH_REASON_LENGTH, 100]);
    await expect.poll(async () => (await ledger.account(workerId))?.leases, { timeout: 8_000 }).toBe(0);
  },
  TIMEOUT_MS,
);

it(
  'answers the same on a lesser instruction set, whose name it bears in the registry',
  async () => {
    const sizes = ['--pool-mib', '16', '--codec', 'raw', '--weights', 'f32', '--kv-dtype', 'f32'];
    const limited = start([...sizes, '--model', MODEL_DIR, '--id', 'w2', '--max-cpu-isa', 'sse4'], {
      KVCAPSULE_REDIS: redis.url,
    });
    try {
      const { address } = await readyLine(limited);
      const { cases } = JSON.parse(await readFile(`${MODEL_DIR}/golden.json`, 'utf8')) as GoldenFile;
      const example = cases.find(({ pictures }) => pictures.length === 0);
      if (!example) throw new Error('no golden case is without pictures');
      const client = createRpcClient(WorkerServiceClient, String(address));
      const asking = { ...hello('g', example.answer_ids.length), tokenIds: example.input_ids };
      const { tokenIds } = await new RouterSide(client).ask(asking);
      client.close();
      expect(tokenIds).toEqual(example.answer_ids);
      expect((await untilRecord('w2')).arithmetic).toBe('cpu-sse4-1');
    } finally {
      limited.kill('SIGKILL');
    }
  },
  TIMEOUT_MS,
);

it(
  'answers while Redis is gone and comes back with it',
  async () => {
    const before = await untilRecord();
    await redis.kill();
    expect((await router.ask(hello('b', 20))).tokenIds).toHaveLength(20);
    redis = await startRedis(redis);
    const after = await untilRecord();
    expect(after.epoch).toBeGreaterThan(before.epoch);
    expect(after.address).toBe(before.address);
  },
  TIMEOUT_MS,
);

it(
  'drains at SIGTERM, leaves the registry and exits with 0',
  async () => {
    router.send(hello('c', 200));
    await until(() => router.eventsOf('c').length > 2);
    const exit = once(worker, 'exit');
    worker.kill('SIGTERM');
    expect((await router.answer('c')).tokenIds).toHaveLength(200);
    expect(await exit).toEqual([0, null]);
    expect(await record('w1')).toBeUndefined();
  },
  TIMEOUT_MS,
);

it(
  'names what is wrong with its settings',
  async () => {
    const child = start(['--model', MODEL_DIR, '--redis', redis.url, '--codec', 'zip']);
    const said: Buffer[] = [];
    child.stderr?.on('data', (part: Buffer) => said.push(part));
    expect((await once(child, 'exit'))[0]).toBe(1);
    expect(Buffer.concat(said).toString()).toContain('--codec');
  },
  TIMEOUT_MS,
);
