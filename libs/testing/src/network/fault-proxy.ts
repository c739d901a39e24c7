import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/**
 * What becomes of bytes: `passing` as they come; `slow` after a while, in order; `silent` not until the fault is over,
 * as where a cable is out: connections stay, nothing comes and nothing is refused; `refusing` connections are reset,
 * those that are open and new ones; `cutting` connections are reset as soon as their client has sent more than so many
 * bytes, as by a server that breaks under what it is asked for; `deaf` is silent towards the server alone.
 */
export type Fault = 'passing' | 'slow' | 'silent' | 'refusing' | 'cutting' | 'deaf';

/** A stop resets what is open, which takes a turn of the event loop. */
const STOP_MS = 10_000;

/** A way to a server of loopback that can be broken and mended. */
export class FaultProxy {
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  #fault: Fault = 'passing';
  #amount = 0;

  #target: number;

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: true }, (client) => {
      this.#accept(client);
    });
  }

  /** @param target port of the server */
  static async start(target: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** @param amount milliseconds of `slow`, in each direction; bytes of `cutting` */
  set(fault: Fault, amount = 0): void {
    this.#fault = fault;
    this.#amount = amount;
    for (const pair of this.#pairs) {
      if (fault === 'refusing') pair.reset();
      else pair.look();
    }
  }

  /** Where connections lead from here on; those that are open stay. */
  aim(target: number): void {
    this.#target = target;
  }

  /** Rejects where connections are left that do not end. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const { port } = this;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const pair of this.#pairs) pair.reset();
    const late = sleep(STOP_MS, undefined, { ref: false }).then(() => {
      throw new Error(`the proxy on port ${port} does not close: ${this.#pairs.size} connections are left`);
    });
    await Promise.race([closed, late]);
    late.catch(() => undefined);
  }

  #accept(client: Socket): void {
    if (this.#fault === 'refusing') {
      client.resetAndDestroy();
      return;
    }
    const server = connect({ port: this.#target, host: '127.0.0.1', allowHalfOpen: true });
    const delayMs = (toServer: boolean): number | undefined => {
      if (this.#fault === 'silent' || (toServer && this.#fault === 'deaf')) return undefined;
      return this.#fault === 'slow' ? this.#amount : 0;
    };
    const pair = new Pair(client, server, delayMs);
    let sentBytes = 0;
    client.on('data', ({ length }) => {
      sentBytes += length;
      if (this.#fault === 'cutting' && sentBytes > this.#amount) pair.reset();
    });
    this.#pairs.add(pair);
    const open = new Set([client, server]);
    for (const socket of open) {
      socket.on('error', () => {
        pair.reset();
      });
      socket.once('close', () => {
        open.delete(socket);
        if (open.size === 0) this.#pairs.delete(pair);
      });
    }
  }
}

/** The two sides of one connection. */
class Pair {
  readonly #flows: readonly Flow[];

  constructor(
    private readonly client: Socket,
    private readonly server: Socket,
    delayMs: (toServer: boolean) => number | undefined,
  ) {
    this.#flows = [
      new Flow(client, server, () => delayMs(true)),
      new Flow(server, client, () => delayMs(false)),
    ];
  }

  /** The fault has changed. */
  look(): void {
    for (const flow of this.#flows) flow.look();
  }

  reset(): void {
    for (const flow of this.#flows) flow.drop();
    this.client.resetAndDestroy();
    this.server.resetAndDestroy();
  }
}

/** Bytes that are on their way, and the end of them (`undefined`), each with the time of its arrival. */
type Waiting = readonly [data: Buffer | undefined, atMs: number];

/** One direction. */
class Flow {
  #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(
    from: Socket,
    private readonly to: Socket,
    private readonly delayMs: () => number | undefined,
  ) {
    from.on('data', (data) => {
      this.#take(data);
    });
    from.once('end', () => {
      this.#take(undefined);
    });
  }

  look(): void {
    clearTimeout(this.#timer);
    const delayMs = this.delayMs();
    if (delayMs === undefined) return;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const waitMs = next[1] + delayMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => {
          this.look();
        }, waitMs);
        return;
      }
      this.#waiting.shift();
      if (next[0] === undefined) this.to.end();
      else this.to.write(next[0]);
    }
  }

  drop(): void {
    clearTimeout(this.#timer);
    this.#waiting = [];
  }

  #take(data: Buffer | undefined): void {
    this.#waiting.push([data, performance.now()]);
    if (this.#waiting.length === 1) this.look();
  }
}
