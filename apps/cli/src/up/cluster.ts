import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { partMain } from '../paths.js';
import { withoutRedis } from '../redis-settings.js';
import type { UpOptions } from './options.js';
import { freePort } from './ports.js';
import { PrivateRedis } from './private-redis.js';
import { hasPages, prometheusSpec, removeData } from './prometheus.js';
import { writeRunFile } from './run-file.js';
import { Supervised } from './supervised.js';
import { untilServing } from './until-serving.js';

const READY_TIMEOUT_MS = 60_000;
/** With the two seconds of a Redis that hangs, the ten that a stop may take. */
const ROUTER_GRACE_MS = 4_500;
/** How long streams may go on after a stop; within the router's grace. */
const ROUTER_DRAIN_MS = 3_500;
const WORKER_DRAIN_MS = 2_500;
const WORKER_GRACE_MS = 3_500;
/** Of Prometheus, which stops beside the others: within those two together. */
const PROMETHEUS_GRACE_MS = 5_000;
const PROMETHEUS_PORT = 9090;

/** Where the API answers, and the models that it serves, as clients name them. */
export interface Serving {
  readonly url: string;
  readonly models: readonly string[];
  /** With --observe: where Prometheus answers. */
  readonly prometheusUrl?: string;
}

/** The parts `up` runs, in the order they need each other: Redis, workers, router. */
export class UpCluster {
  private redis: Promise<PrivateRedis> | undefined;
  private readonly workers: Supervised[] = [];
  private router: Supervised | undefined;
  private prometheus: Supervised | undefined;
  private stopped: Promise<void> | undefined;
  /** A start that is under way goes no further once it has fired. */
  private readonly ending = new AbortController();
  private removeRunFile: (() => void) | undefined;

  /** @param say one line for the terminal */
  constructor(
    private readonly options: UpOptions,
    private readonly logFolder: string,
    private readonly say: (line: string) => void,
  ) {}

  /** Starts everything. Resolves once the API is ready to answer; rejects where it is stopped before. */
  async start(): Promise<Serving> {
    const redisUrl = this.options.redis ?? (await this.startRedis());
    this.ending.signal.throwIfAborted();
    const env = childEnvironment(this.options, redisUrl);
    for (const { id, args } of workersOf(this.options)) this.workers.push(this.part('worker', id, args, env));
    this.router = this.part('router', 'router', routerArgs(this.options), env);
    const [ready] = await Promise.all([
      this.router.start(),
      ...this.workers.map(async (worker) => {
        const { note } = await worker.start();
        if (typeof note === 'string') this.say(`${worker.name}: ${note}`);
      }),
    ]);
    const url = String(ready['url']);
    await untilServing(url, this.say, { signal: this.ending.signal });
    if (this.redis) this.leaveRunFile(new URL(url).port, redisUrl);
    const models = ready['models'] as readonly string[];
    return this.options.observe ? { url, models, prometheusUrl: await this.observe(url) } : { url, models };
  }

  /** Router first, so that its streams end properly, then workers, then Redis. Later calls join the first. */
  stop(): Promise<void> {
    this.stopped ??= this.stopInOrder();
    return this.stopped;
  }

  /** Ends every process at once. */
  async kill(): Promise<void> {
    this.ending.abort();
    for (const part of [this.router, ...this.workers, this.prometheus]) part?.kill();
    await (await this.redis?.catch(() => undefined))?.kill();
  }

  private async stopInOrder(): Promise<void> {
    this.ending.abort();
    this.removeRunFile?.();
    const observer = this.prometheus?.stop(PROMETHEUS_GRACE_MS);
    await this.router?.stop(ROUTER_GRACE_MS);
    await Promise.all(this.workers.map((worker) => worker.stop(WORKER_GRACE_MS)));
    // one that did not start has told so
    await (await this.redis?.catch(() => undefined))?.stop();
    await observer;
    if (observer) removeData(this.logFolder);
  }

  /** Starts Prometheus on what the router at `routerUrl` lists. Resolves to its address. */
  private async observe(routerUrl: string): Promise<string> {
    const port = await freePort(PROMETHEUS_PORT);
    this.ending.signal.throwIfAborted();
    const spec = prometheusSpec({ logFolder: this.logFolder, routerUrl, port });
    this.prometheus = new Supervised(spec, this.say);
    const { url } = await this.prometheus.start();
    if (!hasPages(spec.command))
      this.say('prometheus: answers queries (/api/v1); its pages need Debian’s package installed');
    return String(url);
  }

  /** Beside the folders of logs. It is a help to others: where it cannot be written, the service goes on without. */
  private leaveRunFile(port: string, redisUrl: string): void {
    try {
      const stateDir = resolve(this.logFolder, '../..');
      this.removeRunFile = writeRunFile(stateDir, port, { pid: process.pid, redisUrl });
    } catch (error) {
      this.say(`\`inspect ledger\` will not find this Redis: ${(error as Error).message}`);
    }
  }

  private async startRedis(): Promise<string> {
    this.redis = PrivateRedis.start(this.say);
    return (await this.redis).url;
  }

  private part(
    kind: 'router' | 'worker',
    name: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv,
  ): Supervised {
    return new Supervised(
      {
        name,
        command: process.execPath,
        args: [partMain(kind), ...args],
        env,
        logPath: join(this.logFolder, `${name}.log`),
        readyTimeoutMs: READY_TIMEOUT_MS,
      },
      this.say,
    );
  }
}

/** Secrets travel in the environment: every user of the machine can read a command line. */
export function childEnvironment(options: UpOptions, redisUrl: string): NodeJS.ProcessEnv {
  const keys = options.apiKey?.join(',');
  return {
    ...(options.redis === undefined ? withoutRedis(process.env) : process.env),
    KVCAPSULE_REDIS: redisUrl,
    ...(keys === undefined ? {} : { KVCAPSULE_API_KEYS: keys }),
  };
}

interface WorkerProcess {
  readonly id: string;
  readonly args: readonly string[];
}

/** A group of workers for each model; ids count through all groups. */
export function workersOf(options: UpOptions): WorkerProcess[] {
  const models = options.model.flatMap((model) => Array.from({ length: options.workers }, () => model));
  return models.map((model, index) => {
    const id = `worker-${String(index)}`;
    return { id, args: ['--id', id, '--model', model, ...settingsOfEach(options, models.length)] };
  });
}

/** @param workers how many share the machine */
function settingsOfEach(options: UpOptions, workers: number): string[] {
  return [
    ...['--drain-timeout-ms', String(WORKER_DRAIN_MS)],
    // several engines that each take all CPUs only get into each other's way
    ...(workers === 1 ? [] : ['--threads', String(threadsEach(workers))]),
    ...(options.codec === undefined ? [] : ['--codec', options.codec]),
    ...(options.poolMib === undefined ? [] : ['--pool-mib', String(options.poolMib)]),
  ];
}

function threadsEach(workers: number): number {
  return Math.max(1, Math.floor(availableParallelism() / workers));
}

export function routerArgs(options: UpOptions): string[] {
  return [
    ...['--host', options.host, '--port', String(options.port), '--drain-ms', String(ROUTER_DRAIN_MS)],
    ...['--router-processes', String(options.routerProcesses)],
    ...options.model.flatMap((model) => ['--model', model]),
    ...(options.servedModelName ?? []).flatMap((name) => ['--served-model-name', name]),
    ...(options.auth ? [] : ['--no-auth']),
    ...(options.allowImageHost ?? []).flatMap((host) => ['--allow-image-host', host]),
  ];
}
