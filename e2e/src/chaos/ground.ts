import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRedisClient, type RedisClient } from '@kvcapsule/platform/redis';
import { ShiftedClock } from '@kvcapsule/testing/clock';
import { FaultProxy } from '@kvcapsule/testing/network';
import { freePort, startServer, type Store } from '@kvcapsule/testing/redis';
import { Children, hasEnded, killPart, MODEL_DIR, type Part, startPart, until } from '../harness.js';

const PASSWORD = 'of-the-tests';

export interface GroundOptions {
  readonly routers?: number;
  readonly workers?: number;
  /** By default so small that requests wait for pages and leases come near the capacity. */
  readonly poolMib?: number;
  /** How long a worker's streams may go on there after SIGTERM. */
  readonly workerDrainMs?: number;
}

const DEFAULTS = { routers: 2, workers: 3, poolMib: 12, workerDrainMs: 5_000 };

/** One process, and its own way to the store, which can be broken for it alone. */
export interface Node {
  readonly name: string;
  readonly store: FaultProxy;
  readonly clock: ShiftedClock;
  /** The way of routers to a worker. */
  readonly inbound?: FaultProxy;
  part: Part;
  /** Starts the process anew under the same name, after it has ended, until it stays: it needs its store to start. */
  start(): Promise<void>;
}

/** A leak stays; a lease whose reservation was never acknowledged runs out, on a slow machine late. */
const QUIET_LIMIT_MS = 180_000;

/** Processes of a cluster with a breakable way between any two of them. */
export class Ground {
  readonly routers: Node[] = [];
  readonly workers: Node[] = [];
  store!: Store;
  storeClock!: ShiftedClock;
  #reader!: RedisClient;
  readonly #proxies: FaultProxy[] = [];
  readonly #clocks: ShiftedClock[] = [];
  readonly #children = new Children();
  readonly #logDir = mkdtempSync(join(tmpdir(), 'kvc-chaos-'));

  private constructor(private readonly options: Required<GroundOptions>) {}

  static async start(options: GroundOptions = {}): Promise<Ground> {
    const ground = new Ground({ ...DEFAULTS, ...options });
    const { routers, workers } = ground.options;
    try {
      ground.storeClock = await ground.#clock();
      ground.store = await startServer({ password: PASSWORD, env: ground.storeClock.env });
      ground.#reader = await createRedisClient(ground.store.url);
      for (let i = 0; i < workers; i += 1) ground.workers.push(await ground.#startWorker(`worker-${i}`));
      for (let i = 0; i < routers; i += 1) ground.routers.push(await ground.#startRouter(`router-${i}`));
      await until(() => ground.isReady(), 60_000);
    } catch (error) {
      await ground.stop();
      throw error;
    }
    return ground;
  }

  /** Whether every router would serve. */
  async isReady(): Promise<boolean> {
    const answers = await Promise.all(
      this.routers.map(({ part }) => fetch(`${part.ready['url']}/health/ready`).catch(() => undefined)),
    );
    return answers.every((answer) => answer?.status === 200);
  }

  /** Ends the store at once and brings an empty one up at its address. */
  async loseStore(): Promise<void> {
    const [server] = this.store.servers;
    await server?.kill();
    const { env } = this.storeClock;
    if (server) this.store = await startServer({ password: PASSWORD, port: server.port, env });
  }

  /** All that the store holds of a worker in one instant; undefined where it does not answer or knows none. */
  async read(workerId: string): Promise<string[] | undefined> {
    const key = (entity: string) => `kvc:v1:{${workerId}}:${entity}:${workerId}`;
    const script = `local info = redis.call('HMGET', KEYS[2], 'epoch', 'capacity')
      local answer = { redis.call('GET', KEYS[1]) or '', info[1] or '', info[2] or '' }
      for _, field in ipairs(redis.call('HGETALL', KEYS[3])) do answer[#answer + 1] = field end
      return answer`;
    const keys = ['epoch', 'info', 'leases'].map(key);
    return (await this.#reader.eval(script, 3, ...keys).catch(() => undefined)) as string[] | undefined;
  }

  /** Whether no worker holds a page or a request, and the store no lease. */
  /** Waits until no worker holds anything, nor the ledger for it; rejects with what is held. */
  async untilQuiet(): Promise<void> {
    let held: string[] = [];
    const isQuiet = async () => {
      held = (await Promise.all(this.workers.map((worker) => this.#heldBy(worker)))).flat();
      return held.length === 0;
    };
    await until(isQuiet, QUIET_LIMIT_MS).catch((error: unknown) => {
      throw new Error(`still held: ${held.join(', ')}`, { cause: error });
    });
  }

  async stop(): Promise<void> {
    for (const proxy of this.#proxies) proxy.set('passing');
    await this.#children.stop();
    await Promise.all(this.#proxies.map((proxy) => proxy.stop()));
    (this.#reader as RedisClient | undefined)?.disconnect();
    await (this.store as Store | undefined)?.stop();
    for (const clock of this.#clocks) clock.remove();
    rmSync(this.#logDir, { recursive: true, force: true });
  }

  /** A second process takes a worker's id while the first stands still. Resolves to whether the first has left then. */
  async replace(worker: Node, standsMs: number): Promise<boolean> {
    const { process } = worker.part;
    process.kill('SIGSTOP');
    const gone = hasEnded(process) ? Promise.resolve(true) : once(process, 'exit').then(() => true);
    const port = await freePort();
    const part = await asASupervisor(() => this.#startProcess(worker, port));
    worker.part = part;
    await new Promise((resolve) => setTimeout(resolve, standsMs));
    process.kill('SIGCONT');
    const late = new Promise<boolean>((resolve) => setTimeout(resolve, 20_000, false).unref());
    const left = await Promise.race([gone, late]);
    if (!left) process.kill('SIGKILL');
    return left;
  }

  async #heldBy({ name, part }: Node): Promise<string[]> {
    const text = await fetch(part.ready['metrics'] ?? '')
      .then((response) => response.text())
      .catch(() => '');
    const pages = ['raw', 'rows', 'capsule'].map((state) => `pages{state="${state}"}`);
    const held = ['requests_waiting', 'requests_running', ...pages].flatMap((gauge) => {
      const sample = `kvcapsule_worker_${gauge} `;
      const line = text.split('\n').find((each) => each.startsWith(sample));
      return line === `${sample}0` ? [] : [`${name}: ${line ?? `no ${gauge}`}`];
    });
    const record = await this.read(name);
    const hasNoLease = record?.length === 3 && record[1] !== '';
    return hasNoLease ? held : [...held, `${name}: ledger ${JSON.stringify(record)}`];
  }

  async #startWorker(name: string): Promise<Node> {
    const port = await freePort();
    const ways = { ...(await this.#surroundings()), inbound: await this.#wayTo(port) };
    return nodeOf({ name, ...ways }, () => this.#startProcess({ name, ...ways }, port));
  }

  async #startRouter(name: string): Promise<Node> {
    const { store, clock } = await this.#surroundings();
    const port = await freePort();
    const args = [
      '--port',
      String(port),
      '--redis',
      urlOf(store),
      '--model',
      MODEL_DIR,
      // longer than any stream takes beside much else: what is asked to end loses none
      '--drain-ms',
      '60000',
    ];
    const start = () => this.#startPart('router', args, clock);
    return nodeOf({ name, store, clock }, start);
  }

  #startProcess({ name, store, clock, inbound }: Place, port: number): Promise<Part> {
    inbound?.aim(port);
    const told = ['--listen', `127.0.0.1:${port}`, '--advertise', `127.0.0.1:${inbound?.port ?? port}`];
    const args = ['--id', name, ...told, '--redis', urlOf(store), '--model', MODEL_DIR, '--threads', '1'];
    const { poolMib, workerDrainMs } = this.options;
    args.push('--pool-mib', String(poolMib), '--drain-timeout-ms', String(workerDrainMs));
    return this.#startPart('worker', args, clock);
  }

  #startPart(name: 'router' | 'worker', args: readonly string[], { env }: ShiftedClock): Promise<Part> {
    return startPart(name, args, { logDir: this.#logDir, children: this.#children, env });
  }

  async #surroundings(): Promise<Pick<Place, 'store' | 'clock'>> {
    const store = await this.#wayTo(this.store.servers[0]?.port ?? 0);
    return { store, clock: await this.#clock() };
  }

  async #clock(): Promise<ShiftedClock> {
    const clock = await ShiftedClock.make();
    this.#clocks.push(clock);
    return clock;
  }

  async #wayTo(port: number): Promise<FaultProxy> {
    const proxy = await FaultProxy.start(port);
    this.#proxies.push(proxy);
    return proxy;
  }
}

/** A node without its process. */
type Place = Omit<Node, 'part' | 'start'>;

async function nodeOf(place: Place, start: () => Promise<Part>): Promise<Node> {
  const node: Node = {
    ...place,
    part: await start(),
    start: async () => {
      node.part = await asASupervisor(start);
    },
  };
  return node;
}

/** Starts a process again when it ends before it is ready. */
async function asASupervisor(start: () => Promise<Part>): Promise<Part> {
  const giveUpAt = performance.now() + 60_000;
  const again = async (error: unknown): Promise<Part> => {
    if (performance.now() > giveUpAt) throw error;
    return start().catch(again);
  };
  return start().catch(again);
}

function urlOf({ port }: FaultProxy): string {
  return `redis://:${PASSWORD}@127.0.0.1:${port}`;
}

/** Asks a process to end, waits until it has, and brings it up again. */
export async function restart(node: Node): Promise<void> {
  const { process } = node.part;
  if (!hasEnded(process)) {
    const gone = once(process, 'exit');
    process.kill('SIGTERM');
    await gone;
  }
  await node.start();
}

/** Ends a process without warning and brings it up again after a while. */
export async function bounce(node: Node, awayMs: number): Promise<void> {
  await killPart(node.part);
  await new Promise((resolve) => setTimeout(resolve, awayMs));
  await node.start();
}
