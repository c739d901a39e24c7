import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
import { createRedisClient, RedisLedger } from '@kvcapsule/platform/redis';
import { startServer, type Store } from '@kvcapsule/testing/redis';

export const ROOT = resolve(import.meta.dirname, '../..');
export const MODEL_DIR = join(ROOT, 'deploy/models/emoji-vlm');

/** One child of the cluster: the built `main.js` of an app. */
export interface Part {
  readonly name: string;
  readonly process: ChildProcess;
  /** The JSON line it printed when it was ready. */
  readonly ready: Readonly<Record<string, string>>;
  /** What it logs. */
  readonly logFile: string;
}

export interface ClusterOptions {
  /** What stands for Redis; one server by default. */
  readonly store?: () => Promise<Store>;
  readonly workers?: number;
  readonly workerArgs?: readonly string[];
  readonly routerArgs?: readonly string[];
  /** Flags of Node for every part. */
  readonly nodeArgs?: readonly string[];
  /** A model's folder; the demo model's by default. */
  readonly model?: string;
  /** The router's file of models, instead of that folder. */
  readonly modelsFile?: string;
  /** For each part's start, of which a worker's reads the weights; three minutes by default. */
  readonly startLimitMs?: number;
}

const oneServer = { password: 'of-the-tests' };

/** A whole cluster of real processes with a store of its own; every stop leaves nothing behind. */
export class Cluster {
  store!: Store;
  router!: Part;
  readonly workers: Part[] = [];
  private readonly logDir = mkdtempSync(join(tmpdir(), 'kvc-e2e-'));
  private readonly children = new Children();

  private constructor(private readonly options: ClusterOptions) {}

  private get storeArgs(): readonly string[] {
    return Object.entries(this.store.settings).flatMap(([name, value]) => [flagOf(name), value]);
  }

  private get modelDir(): string {
    return this.options.model ?? MODEL_DIR;
  }

  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = new Cluster(options);
    try {
      cluster.store = await (options.store ?? (() => startServer(oneServer)))();
      for (let i = 0; i < (options.workers ?? 1); i++) cluster.workers.push(await cluster.startWorker(i));
      cluster.router = await cluster.startRouter('0');
      await cluster.untilReady();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  get url(): string {
    const url = this.router.ready['url'];
    if (url === undefined) throw new Error('the router printed no url');
    return url;
  }

  /** Starts worker `i`, anew after a kill: same id, so the epoch rises. */
  startWorker(i: number, modelDir = this.modelDir): Promise<Part> {
    return this.startPart('worker', [
      ...['--id', `worker-${String(i)}`, ...this.storeArgs, '--model', modelDir],
      ...(this.options.workerArgs ?? ['--pool-mib', '64']),
    ]);
  }

  /** Kills the router and starts another at its address. */
  async restartRouter(): Promise<void> {
    const { port } = new URL(this.url);
    await killPart(this.router);
    this.router = await this.startRouter(port);
    await this.untilReady();
  }

  /** A new server at the address of the one that ended: empty. */
  async restartStore(): Promise<void> {
    const port = this.store.servers[0]?.port;
    this.store = await startServer({ ...oneServer, ...(port === undefined ? {} : { port }) });
  }

  async untilReady(timeoutMs = 180_000): Promise<void> {
    await until(async () => {
      const response = await fetch(`${this.url}/health/ready`).catch(() => undefined);
      return response?.status === 200;
    }, timeoutMs);
  }

  /** The value of a sample in the Prometheus text of worker `i`; `name` may carry its labels. */
  async workerMetric(i: number, name: string): Promise<number> {
    const base = this.workers[i]?.ready['metrics'];
    if (base === undefined) throw new Error(`worker ${String(i)} printed no metrics address`);
    return sampleOf(await (await fetch(base)).text(), name);
  }

  /** Pages of worker `i` that requests hold. */
  async heldPages(i: number): Promise<number> {
    const states = ['raw', 'rows', 'capsule'];
    const pages = states.map((state) => this.workerMetric(i, `kvcapsule_worker_pages{state="${state}"}`));
    return (await Promise.all(pages)).reduce((sum, count) => sum + count, 0);
  }

  async routerMetric(name: string): Promise<number> {
    return sampleOf(await (await fetch(`${this.url}/metrics`)).text(), name);
  }

  /** Everything router and workers have logged so far. */
  logs(): string {
    return readdirSync(this.logDir)
      .map((name) => readFileSync(join(this.logDir, name), 'utf8'))
      .join('\n');
  }

  chat(body: unknown, init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...init,
    });
  }

  async stop(): Promise<void> {
    await this.children.stop();
    await (this.store as Store | undefined)?.stop();
    rmSync(this.logDir, { recursive: true, force: true });
  }

  private startRouter(port: string): Promise<Part> {
    const { modelsFile, routerArgs = [] } = this.options;
    const models = modelsFile ? ['--models', modelsFile] : ['--model', this.modelDir];
    return this.startPart('router', ['--port', port, ...this.storeArgs, ...models, ...routerArgs]);
  }

  private startPart(name: PartName, args: readonly string[]): Promise<Part> {
    const { nodeArgs, startLimitMs } = this.options;
    return startPart(name, args, { logDir: this.logDir, children: this.children, nodeArgs, startLimitMs });
  }
}

/** Every process of a test from its spawn on, whoever else knows of it: none outlives the test, however that ends. */
export class Children {
  readonly #all: ChildProcess[] = [];
  #hasStopped = false;

  /** Throws once they were stopped: a test that has run out of time may still be starting some. */
  check(): void {
    if (this.#hasStopped) throw new Error('the test has ended');
  }

  add(child: ChildProcess): void {
    this.#all.push(child);
  }

  /** Asks each to end (SIGTERM), and ends it when it does not within 15 s. */
  async stop(): Promise<void> {
    this.#hasStopped = true;
    await Promise.all(this.#all.map(end));
  }
}

type PartName = 'router' | 'worker';

interface PartOptions {
  /** Takes what the part logs, a file for each process. */
  readonly logDir: string;
  /** Ends the process. */
  readonly children: Children;
  readonly nodeArgs?: readonly string[] | undefined;
  /** More of its environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Three minutes by default. */
  readonly startLimitMs?: number | undefined;
}

/** Starts an app's process and waits until it is ready. */
export async function startPart(
  name: PartName,
  args: readonly string[],
  { logDir, children, nodeArgs = [], env = {}, startLimitMs = 180_000 }: PartOptions,
): Promise<Part> {
  children.check();
  const program = [...nodeArgs, join(ROOT, 'apps', name, 'dist/main.js')];
  const child = spawn(process.execPath, [...program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  children.add(child);
  mkdirSync(logDir, { recursive: true });
  const logFile = join(logDir, `${name}-${String(child.pid)}.log`);
  child.stderr.pipe(createWriteStream(logFile));
  const ready = await readyLine(child, startLimitMs).catch((error: unknown) => {
    child.kill('SIGKILL');
    // with the test the folder of its logs is gone
    const logged = existsSync(logFile) ? readFileSync(logFile, 'utf8') : 'nothing is left of its log';
    throw new Error(`${name} did not start: ${logged.slice(-4000)}`, { cause: error });
  });
  return { name, process: child, ready, logFile };
}

/**
 * Waits until everything is at zero: no page held, no request in the worker, no lease and no page in the ledger.
 * Resolves to what was read last.
 */
export async function quiet(cluster: Cluster, workerId = 'worker-0'): Promise<Record<string, number>> {
  const redis = await createRedisClient(cluster.store.settings);
  try {
    const ledger = new RedisLedger(redis);
    let counts: Record<string, number> = {};
    const atRest = async (): Promise<boolean> => {
      const [waiting, running, pagesHeld] = await Promise.all([
        cluster.workerMetric(0, 'kvcapsule_worker_requests_waiting'),
        cluster.workerMetric(0, 'kvcapsule_worker_requests_running'),
        cluster.heldPages(0),
      ]);
      const { leases, reservedPages, committedPages } = (await ledger.account(workerId)) ?? {};
      counts = {
        ...{ waiting, running, pagesHeld },
        ...{ leases: leases ?? NaN, leasedPages: (reservedPages ?? NaN) + (committedPages ?? NaN) },
      };
      return Object.values(counts).every((count) => count === 0);
    };
    // requests whose client has gone may still be on their way, and a lease whose reservation was never
    // acknowledged runs out by itself after 10 s
    await until(atRest, 120_000);
    return counts;
  } finally {
    redis.disconnect();
  }
}

/** `redisCaFile` is `--redis-ca-file` on the command line. */
function flagOf(setting: string): string {
  return `--${setting.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Kills without warning and waits until the process is gone. */
export async function killPart({ process }: Part): Promise<void> {
  if (hasEnded(process)) return;
  const gone = once(process, 'exit');
  process.kill('SIGKILL');
  await gone;
}

export function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

/** Polls until `check` holds; rejects when it never does. */
export async function until(check: () => Promise<boolean> | boolean, timeoutMs: number): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await check())) {
    if (Date.now() > end)
      throw new Error(`did not come true within ${String(timeoutMs)} ms: ${check.toString()}`);
    await sleep(50);
  }
}

export function picture(name: string): string {
  const bytes = readFileSync(join(MODEL_DIR, 'golden', `${name}.png`));
  return `data:image/png;base64,${bytes.toString('base64')}`;
}

/** Pixels `[height][width][channels]` as a PNG in a data URI. */
export async function pngUri(
  pixels: Uint8Array,
  width: number,
  height: number,
  channels: 1 | 3 = 3,
): Promise<string> {
  const png = await sharp(pixels, { raw: { width, height, channels } }).png().toBuffer();
  return `data:image/png;base64,${png.toString('base64')}`;
}

/** A user message with pictures before its text, as the demo model learned it. */
export function ask(text: string, ...urls: readonly string[]): object {
  return {
    role: 'user',
    content: [...urls.map((url) => ({ type: 'image_url', image_url: { url } })), { type: 'text', text }],
  };
}

export interface Golden {
  readonly name: string;
  readonly pictures: readonly string[];
  readonly messages: readonly {
    role: string;
    content: string | readonly { type: string; text?: string }[];
  }[];
  readonly input_ids: readonly number[];
  readonly answer_ids: readonly number[];
  readonly answer: string;
  readonly smallest_margin: number;
}

/** What transformers answered with the same weights. */
export function goldenCases(): readonly Golden[] {
  const file = JSON.parse(readFileSync(join(MODEL_DIR, 'golden.json'), 'utf8')) as { cases: Golden[] };
  return file.cases;
}

/** A golden case's messages in OpenAI's form. */
export function goldenMessages(golden: Golden): object[] {
  const pictures = [...golden.pictures];
  return golden.messages.map(({ role, content }) => ({
    role,
    content:
      typeof content === 'string'
        ? content
        : content.map((part) =>
            part.type === 'text'
              ? part
              : { type: 'image_url', image_url: { url: picture((pictures.shift() ?? '').slice(7, -4)) } },
          ),
  }));
}

/** The data fields of a finished SSE body. */
export function events(body: string): string[] {
  return body
    .split('\n\n')
    .filter((block) => block.startsWith('data: '))
    .map((block) => block.slice(6));
}

async function readyLine(child: ChildProcess, limitMs: number): Promise<Record<string, string>> {
  if (child.stdout === null) throw new Error('no stdout');
  const exit = once(child, 'exit').then(([code]) => Promise.reject(new Error(`exit ${String(code)}`)));
  const ready = (async () => {
    for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
      if (!line.startsWith('{')) continue;
      const parsed = JSON.parse(line) as Record<string, string>;
      if (parsed['event'] === 'ready') return parsed;
    }
    throw new Error('stdout ended');
  })();
  const late = sleep(limitMs, undefined, { ref: false }).then(() =>
    Promise.reject(new Error('no ready line')),
  );
  const line = await Promise.race([exit, ready, late]);
  exit.catch(() => undefined);
  late.catch(() => undefined);
  child.stdout.resume();
  return line;
}

async function end(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  const gone = once(child, 'exit');
  // one that stands still takes no other signal
  child.kill('SIGCONT');
  child.kill('SIGTERM');
  const forced = setTimeout(() => child.kill('SIGKILL'), 15_000);
  const late = sleep(30_000, undefined, { ref: false }).then(() => {
    throw new Error(`process ${String(child.pid)} does not end: ${child.spawnargs.join(' ')}`);
  });
  late.catch(() => undefined);
  await Promise.race([gone, late]);
  clearTimeout(forced);
}

/** The value of a sample in a Prometheus text; `name` may carry its labels. */
export function sampleOf(text: string, name: string): number {
  const line = text
    .split('\n')
    .find((candidate) => candidate.startsWith(`${name} `) || candidate.startsWith(`${name}{`));
  if (line === undefined) throw new Error(`no sample of ${name}`);
  return Number(line.slice(line.lastIndexOf(' ') + 1));
}
