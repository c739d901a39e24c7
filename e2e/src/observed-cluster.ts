import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sceneOfSeries } from '@kvcapsule/testing';
import { files, prometheusConfig } from '@kvcapsule/observability';
import { Prometheus, type Range, rulesAtOnce, withoutWaits } from '@kvcapsule/testing/prometheus';
import { startServer } from '@kvcapsule/testing/redis';
import { ask, Cluster, killPart } from './harness.js';

/** Who asks for what. `batch` may have one request at a time and sends more: the rest are refused. */
const TENANTS = {
  search: { key: 'key-of-search', limits: {} },
  shop: { key: 'key-of-shop', limits: {} },
  batch: { key: 'key-of-batch', limits: { requests: 1 } },
};
type Tenant = keyof typeof TENANTS;

/** What one client asks, over and over. */
interface Client {
  readonly tenant: Tenant;
  readonly body: (turn: number) => Promise<object>;
}

const chat = (message: object, tokens: number, more: object = {}): object => ({
  ...{ model: 'emoji-vlm', stream: true, ignore_eos: true, messages: [message], max_tokens: tokens },
  ...more,
});

const text =
  (tokens: number) =>
  (turn: number): Promise<object> =>
    Promise.resolve(chat(ask(`Hello! This is number ${String(turn)}.`), tokens));

/** Two pictures, asked about twice before the next two. */
const pictures =
  (series: number, tokens: number, more: object = {}) =>
  async (turn: number): Promise<object> => {
    const first = turn - (turn % 2);
    const scenes = await Promise.all([first, first + 1].map((index) => sceneOfSeries(series, index)));
    const urls = scenes.map(({ png }) => `data:image/png;base64,${Buffer.from(png).toString('base64')}`);
    return chat(ask(`Describe the image, time ${String(turn)}.`, ...urls), tokens, more);
  };

const CLIENTS: readonly Client[] = [
  { tenant: 'search', body: text(60) },
  { tenant: 'search', body: text(500) },
  { tenant: 'shop', body: pictures(1, 60) },
  { tenant: 'shop', body: pictures(2, 150) },
  { tenant: 'shop', body: pictures(3, 400, { kv_codec: 'raw' }) },
  { tenant: 'search', body: pictures(4, 100, { kv_codec: 'q8' }) },
  { tenant: 'batch', body: text(100) },
  { tenant: 'batch', body: text(100) },
];

const WORKERS = 2;
const NO_ALERTMANAGER = '127.0.0.1:9';

/** A cluster under load, whose metrics a real Prometheus scrapes every second. */
export class ObservedCluster {
  readonly #startSeconds = Date.now() / 1000;
  #isOver = false;
  /** Requests that were answered so far. */
  served = 0;

  private constructor(
    readonly cluster: Cluster,
    readonly prometheus: Prometheus,
    private readonly folder: string,
  ) {}

  static async start(): Promise<ObservedCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'kvc-observed-'));
    const cluster = await Cluster.start({
      workers: WORKERS,
      store: () => startServer({ password: 'of-the-tests', lines: ['maxmemory 64mb'] }),
      // pools that the load fills, so that workers climb the ladder
      workerArgs: ['--pool-mib', '4', '--swap-mib', '1', '--max-running', '4', '--encoder-cache-mib', '1'],
      routerArgs: ['--tenants', tenantsFile(folder)],
    });
    const config = withoutWaits(prometheusConfig(new URL(cluster.url).host, NO_ALERTMANAGER));
    const prometheus = await Prometheus.start(config, rulesAtOnce(files()));
    return new ObservedCluster(cluster, prometheus, folder);
  }

  /** All that has been since the start, in steps of a second. */
  range(): Range {
    return { startSeconds: this.#startSeconds, endSeconds: Date.now() / 1000, stepSeconds: 1 };
  }

  /** Clients ask until `during` is over. */
  async load(during: () => Promise<void>): Promise<void> {
    const clients = CLIENTS.map((client) => this.#ask(client));
    try {
      await during();
    } finally {
      this.#isOver = true;
      await Promise.all(clients);
    }
  }

  /** A worker dies while it answers, and comes back. */
  async killWorker(): Promise<void> {
    const [, victim] = this.cluster.workers;
    if (victim === undefined) throw new Error('no second worker');
    await killPart(victim);
    await sleep(4_000);
    this.cluster.workers[1] = await this.cluster.startWorker(1);
  }

  /** Redis stands still for a while. */
  async pauseStore(forMs: number): Promise<void> {
    const [server] = this.cluster.store.servers;
    await server?.pause();
    await sleep(forMs);
    await server?.resume();
  }

  async stop(): Promise<void> {
    await this.prometheus.stop();
    await this.cluster.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #ask({ tenant, body }: Client): Promise<void> {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${TENANTS[tenant].key}` };
    for (let turn = 0; !this.#isOver; turn += 1) {
      const answer = await this.cluster.chat(await body(turn), { headers });
      await answer.text().catch(() => undefined);
      if (answer.ok) this.served += 1;
      else await sleep(250);
    }
  }
}

function tenantsFile(folder: string): string {
  const file = join(folder, 'tenants.json');
  const tenants = Object.entries(TENANTS).map(([name, { key, limits }]) => ({
    ...{ name, limits },
    keySha256: [createHash('sha256').update(key).digest('hex')],
  }));
  writeFileSync(file, JSON.stringify({ tenants }));
  return file;
}
