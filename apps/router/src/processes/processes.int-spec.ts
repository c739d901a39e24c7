import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openModelFolder } from '@kvcapsule/model';
import { createMetrics } from '@kvcapsule/platform/telemetry';
import { type RedisServer, startRedis } from '@kvcapsule/platform/redis-server';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { RedisPorts } from '../redis-ports.adapter.js';
import { delta, FakeWorker, finished, type Script, started } from '../testing/fake-worker.js';
import { workerRecord } from '../testing/memory-ports.js';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const ANSWERED = 'kvcapsule_router_requests_total{model="emoji-vlm",status="200",code="ok"}';
const MODEL_DIR = fileURLToPath(new URL('../../../../deploy/models/emoji-vlm', import.meta.url));
const TOKENS = 20;

/** Streams wait for it between their first two tokens. */
let gate: Promise<void> | undefined;

const steady: Script = async (request, say) => {
  say(started(request.tokenIds.length));
  for (let made = 0; made < TOKENS; made += 1) {
    say(delta('x'));
    await gate;
  }
  say(finished(request, TOKENS));
};

function childrenOf(pid: number): number[] {
  const parentOf = (name: string): number => {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    } catch {
      return NaN;
    }
  };
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && parentOf(name) === pid)
    .map(Number);
}

/** A real router of several processes. */
class Router {
  readonly process: ChildProcess;
  readonly exited: Promise<unknown[]>;
  errors = '';
  url = '';

  constructor(redis: string, ...more: readonly string[]) {
    const args = ['--port', '0', '--redis', redis, '--model', MODEL_DIR, ...more];
    this.process = spawn(process.execPath, [MAIN, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // a group of its own, as a shell makes one that a terminal then signals
      detached: true,
    });
    this.process.stderr?.on('data', (text: Buffer) => (this.errors += text.toString()));
    this.exited = once(this.process, 'exit');
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  async start(): Promise<this> {
    if (!this.process.stdout) throw new Error('no stdout');
    const [line] = (await once(this.process.stdout, 'data')) as [Buffer];
    this.url = (JSON.parse(line.toString()) as { url: string }).url;
    return this;
  }

  /** On a connection of its own, so that it is dealt out anew. */
  ask(path: string, body?: object, more: object = {}): Promise<{ status: number | undefined; text: string }> {
    return new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', ...more };
      const options = { method: body ? 'POST' : 'GET', headers, agent: new http.Agent() };
      const request = http.request(`${this.url}${path}`, options, (response) => {
        let text = '';
        response.on('data', (part: Buffer) => (text += part.toString()));
        response.on('error', reject).on('end', () => resolve({ status: response.statusCode, text }));
      });
      request.on('error', reject).end(body && JSON.stringify(body));
    });
  }

  stream(): Promise<{ status: number | undefined; text: string }> {
    const messages = [{ role: 'user', content: 'hello' }];
    return this.ask('/v1/chat/completions', { model: 'emoji-vlm', stream: true, messages });
  }

  async metric(name: string): Promise<number> {
    const { text } = await this.ask('/metrics');
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
  }
}

let redis: RedisServer;
let ports: RedisPorts;
let worker: FakeWorker;
let heart: NodeJS.Timeout;
let router: Router | undefined;

beforeAll(async () => {
  redis = await startRedis();
  ports = await RedisPorts.open({ redis: redis.url }, 'test', createMetrics('router'), () => undefined);
  worker = await new FakeWorker().start();
  worker.script = steady;
  const { processorRevision } = await openModelFolder(MODEL_DIR);
  const load = { state: 'ready', running: 0, waiting: 0, freePages: 100_000 } as const;
  const of = { modelId: 'emoji-vlm', processorRevision, capacityPages: 100_000, contextTokens: 8_192 };
  const record = workerRecord('w0', worker.address, of);
  const { epoch } = await ports.registry.register(record, load, { instanceId: 'fake', heldEpoch: 0 });
  heart = setInterval(() => void ports.registry.heartbeat(record, epoch, load).catch(() => undefined), 500);
});

afterEach(() => {
  router?.process.kill('SIGKILL');
});

afterAll(async () => {
  clearInterval(heart);
  worker.kill();
  await ports.close();
  await redis.stop();
});

const isWhole = ({ status, text }: { status: number | undefined; text: string }) =>
  status === 200 && text.endsWith('data: [DONE]\n\n') && text.split('"content":"x"').length === TOKENS + 1;

function start(processes: number): Promise<Router> {
  router = new Router(redis.url, '--router-processes', String(processes));
  return router.start();
}

describe('a router of several processes', { timeout: 240_000 }, () => {
  it('deals connections out to all of them, and tells the metrics of all whichever is asked', async () => {
    const group = await start(3);
    expect(childrenOf(group.pid)).toHaveLength(3);
    const answers = await Promise.all(Array.from({ length: 12 }, () => group.stream()));
    expect(answers.map(isWhole)).toEqual(new Array(12).fill(true));
    for (let asked = 0; asked < 3; asked += 1) {
      expect(await group.metric('kvcapsule_router_processes')).toBe(3);
      expect(await group.metric(ANSWERED)).toBe(12);
      expect(await group.metric('kvcapsule_router_workers')).toBe(1);
    }
  });

  it('serves on when one of them is killed, which comes back', async () => {
    const group = await start(2);
    const before = childrenOf(group.pid);
    await Promise.all([1, 2, 3, 4].map(() => group.stream()));
    const counted = [await group.metric(ANSWERED)];
    process.kill(before[0] ?? 0, 'SIGKILL');
    while (childrenOf(group.pid).includes(before[0] ?? 0)) await sleep(5);
    counted.push(await group.metric(ANSWERED));
    const answers = await Promise.all([1, 2, 3, 4].map(() => group.stream()));
    expect(answers.map(isWhole)).toEqual([true, true, true, true]);
    while ((await group.metric('kvcapsule_router_processes')) !== 2) await sleep(50);
    counted.push(await group.metric(ANSWERED));
    // a sum that fell would be a start from zero to Prometheus, which counts all of it once more
    expect(counted).toEqual([4, 4, 8]);
    expect(childrenOf(group.pid)).toHaveLength(2);
    expect(group.errors).toContain('"reason":"SIGKILL","delayMs":500');
  });

  it('has one that is started anew run by what was read at the start, whatever has become of the files', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'kvcapsule-tenants-')), 'tenants.json');
    const keySha256 = [createHash('sha256').update('a-key-of-one').digest('hex')];
    writeFileSync(file, JSON.stringify({ tenants: [{ name: 'one', keySha256 }] }));
    router = new Router(redis.url, '--router-processes', '2', '--tenants', file);
    const group = await router.start();
    writeFileSync(file, '{"tenants": [');
    const before = childrenOf(group.pid);
    process.kill(before[0] ?? 0, 'SIGKILL');
    while (childrenOf(group.pid).includes(before[0] ?? 0)) await sleep(5);
    while ((await group.metric('kvcapsule_router_processes')) !== 2) await sleep(50);
    const statuses = async (headers: object) =>
      Promise.all([1, 2].map(async () => (await group.ask('/v1/models', undefined, headers)).status));
    expect(await statuses({ authorization: 'Bearer a-key-of-one' })).toEqual([200, 200]);
    expect(await statuses({})).toEqual([401, 401]);
    rmSync(dirname(file), { recursive: true });
  });

  it.each([
    ['told to end', (pid: number) => process.kill(pid, 'SIGTERM')],
    ['ended by Ctrl-C, which all of its processes hear', (pid: number) => process.kill(-pid, 'SIGINT')],
  ])('loses no stream when it is %s', async (_, end) => {
    const group = await start(2);
    const opening = Promise.withResolvers<void>();
    gate = opening.promise;
    const streams = Array.from({ length: 40 }, () => group.stream());
    while (worker.running < 40) await sleep(5);
    end(group.pid);
    await sleep(200);
    opening.resolve();
    const answers = await Promise.all(streams);
    expect(answers.filter(isWhole)).toHaveLength(40);
    expect(await group.exited).toEqual([0, null]);
  });

  it('ends at once when it is told so again', async () => {
    const group = await start(2);
    const opening = Promise.withResolvers<void>();
    gate = opening.promise;
    const stream = group.stream().catch(() => undefined);
    while (worker.running < 1) await sleep(5);
    group.process.kill('SIGTERM');
    await sleep(600);
    group.process.kill('SIGTERM');
    expect(await group.exited).toEqual([1, null]);
    expect(await stream).toBeUndefined();
    opening.resolve();
  });

  it('ends at once when none of them can start, and says why', async () => {
    router = new Router('redis://127.0.0.1:1', '--router-processes', '2');
    expect(await router.exited).toEqual([1, null]);
    expect(router.errors).toMatch(/kvcapsule serve router: \w+: /);
  });
});
