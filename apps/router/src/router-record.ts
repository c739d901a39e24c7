import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { KvcError } from '@kvcapsule/contracts/errors';
import type { ReservingRouter, RouterIdentity } from '@kvcapsule/domain/ledger';
import { ROUTER_RENEWAL_MS, ROUTER_TTL_MS, type RouterRegistryPort } from '@kvcapsule/domain/registry';

/** The longest that an end waits for the store: what is not removed runs out. */
const LEAVE_MS = 500;

const random = (): string => randomBytes(6).toString('hex');

/** The id that one process of a router registers under: each has its own. */
export function routerIdOf(given: string | undefined, processNumber: number | undefined): string {
  if (given === undefined) return `router-${random()}`;
  return processNumber === undefined ? given : `${given}-${processNumber}`;
}

/**
 * This process in the registry, renewed until it is closed, and in whose name pages are reserved. Where its record has
 * run out, or a ledger refuses its epoch, it registers again. A process whose id another one has taken goes on under an
 * id of its own: routers own nothing, so neither has to end.
 */
export class RouterRecord implements ReservingRouter {
  readonly #instanceId = randomUUID();
  readonly #timer = setInterval(() => void this.#renew(), ROUTER_RENEWAL_MS).unref();
  #identity: RouterIdentity;
  #routers = 1;
  #addresses: readonly string[] = [];
  #address: string | undefined;
  /** When the last registration that succeeded was asked for. A process that was stopped finds it long ago. */
  #renewedMs = -Infinity;
  #registering: Promise<RouterIdentity> | undefined;

  private constructor(
    private readonly registry: RouterRegistryPort,
    routerId: string,
    private readonly warn: (line: string) => void,
  ) {
    this.#identity = { routerId, epoch: 0 };
  }

  /** Rejects with `LEDGER_UNAVAILABLE` where the store does not answer. */
  static async open(
    registry: RouterRegistryPort,
    routerId: string,
    warn: (line: string) => void,
  ): Promise<RouterRecord> {
    const record = new RouterRecord(registry, routerId, warn);
    try {
      await record.#registered(0);
      return record;
    } catch (error) {
      clearInterval(record.#timer);
      throw error;
    }
  }

  /** How many routers there were at the last renewal that succeeded, this one included. */
  get routers(): number {
    return this.#routers;
  }

  /** host:port of all routers that listened at that renewal, each once. */
  get addresses(): readonly string[] {
    return this.#addresses;
  }

  /** It listens there from here on; others hear of it at once, where the store answers. */
  async listensAt(address: string): Promise<void> {
    this.#address = address;
    await this.#renew();
  }

  get identity(): RouterIdentity {
    return this.#identity;
  }

  async run<T>(reserve: (as: RouterIdentity) => Promise<T>): Promise<T> {
    const isCurrent = performance.now() - this.#renewedMs < ROUTER_TTL_MS;
    const as = isCurrent ? this.#identity : await this.#registered(0);
    try {
      return await reserve(as);
    } catch (error) {
      if (!isStale(error)) throw error;
      // another request may have met that before
      const isOlder = this.#identity.epoch === as.epoch;
      return reserve(isOlder ? await this.#registered(as.epoch) : this.#identity);
    }
  }

  /** Ends the record, so that nobody waits for it to run out. Never rejects. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    const { routerId, epoch } = this.#identity;
    const left = this.registry.deregisterRouter(routerId, epoch).catch(() => undefined);
    await Promise.race([left, sleep(LEAVE_MS, undefined, { ref: false })]);
  }

  async #renew(): Promise<void> {
    // a store that does not answer is noticed where it is needed
    await this.#registered(0).catch(() => undefined);
  }

  /** One registration at a time; who comes meanwhile has the same answer. */
  #registered(refusedEpoch: number): Promise<RouterIdentity> {
    this.#registering ??= this.#register(refusedEpoch).finally(() => {
      this.#registering = undefined;
    });
    return this.#registering;
  }

  async #register(refusedEpoch: number): Promise<RouterIdentity> {
    const askedMs = performance.now();
    const { routerId, epoch: heldEpoch } = this.#identity;
    try {
      const by = { instanceId: this.#instanceId, heldEpoch, refusedEpoch, address: this.#address };
      const { epoch, routers, addresses } = await this.registry.registerRouter(routerId, by);
      this.#routers = routers;
      this.#addresses = [...new Set(addresses)].sort();
      this.#renewedMs = askedMs;
      if (epoch !== heldEpoch) this.#identity = { routerId, epoch };
      return this.#identity;
    } catch (error) {
      if (!isStale(error)) throw error;
      this.#identity = { routerId: `router-${random()}`, epoch: 0 };
      this.warn(
        `another router has registered as ${routerId}: this one goes on as ${this.#identity.routerId}; give each its own --router-id`,
      );
      return this.#register(0);
    }
  }
}

const isStale = (error: unknown): boolean => error instanceof KvcError && error.code === 'STALE_ROUTER';
