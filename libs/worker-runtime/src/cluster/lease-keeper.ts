import { type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import type { LedgerPort } from '@kvcapsule/domain/ledger';
import { RepeatedFaults } from '@kvcapsule/platform/faults';
import type { ResizeAnswer } from '@kvcapsule/serving';
import type { Logger } from 'pino';

interface Held {
  readonly leaseId: string;
  /** What the ledger has answered to last, or the router reserved. */
  pages: number;
  /**
   * Whether the ledger surely holds it with these pages. After a write without an answer nobody knows: the next
   * resize or heartbeat commits it anew, which sets its pages whatever came of that write.
   */
  settled: boolean;
  /** Writes of one lease go out one after the other. */
  tail: Promise<unknown>;
}

/** Which worker process writes to the ledger; the epoch changes when it registers again. */
export interface LedgerIdentity {
  readonly workerId: string;
  readonly epoch: number;
}

/**
 * The worker's side of the ledger: takes the routers' leases over, sets their pages as requests grow and gives
 * them back. With the ledger away everything goes on under the pool's own limits; what could not be given back
 * is tried again with every heartbeat.
 */
export class LeaseKeeper {
  /** By generation key. */
  readonly #held = new Map<string, Held>();
  readonly #unreleased = new Set<string>();
  readonly #faults: RepeatedFaults;

  constructor(
    private readonly ledger: LedgerPort,
    private readonly identity: () => LedgerIdentity,
    logger: Logger,
  ) {
    this.#faults = new RepeatedFaults(logger);
  }

  /** Takes a lease over. Rejects with `STALE_EPOCH` or `NO_CAPACITY` when it is not the worker's to take. */
  async accept(key: string, lease: { leaseId: string; epoch: bigint; pages: number }): Promise<void> {
    const identity = this.identity();
    if (Number(lease.epoch) !== identity.epoch) {
      throw new KvcError('STALE_EPOCH', 'The lease belongs to an earlier epoch of this worker.');
    }
    const held: Held = {
      leaseId: lease.leaseId,
      pages: lease.pages,
      settled: false,
      tail: Promise.resolve(),
    };
    this.#held.set(key, held);
    try {
      await this.#write(held, () => this.ledger.commit({ ...identity, leaseId: lease.leaseId }, lease.pages));
      held.settled = true;
    } catch (error) {
      if (isAway(error)) return;
      this.#held.delete(key);
      throw error;
    }
  }

  /** Sets the pages of a lease. Never rejects. */
  async resize(key: string, pages: number): Promise<ResizeAnswer> {
    const held = this.#held.get(key);
    if (!held) return 'unknown';
    if (held.pages === pages && held.settled) return 'set';
    try {
      await this.#write(held, () => this.#set(held, pages));
      held.settled = true;
      held.pages = pages;
      return 'set';
    } catch (error) {
      if (error instanceof KvcError && error.code === 'NO_CAPACITY') return 'refused';
      held.settled = false;
      if (!isUnsettled(error)) this.#faults.warn(error, 'a lease was not resized');
      return 'unknown';
    }
  }

  /** Gives a lease back. Never rejects. */
  async release(key: string): Promise<void> {
    const held = this.#held.get(key);
    if (!held) return;
    this.#held.delete(key);
    await this.#release(held.leaseId, held.tail);
  }

  /** Gives back a lease that was never taken over, such as one of a refused request. Never rejects. */
  async decline(leaseId: string): Promise<void> {
    await this.#release(leaseId, Promise.resolve());
  }

  /** Tries again what could not be given back or taken over while the ledger was away. */
  async retry(): Promise<void> {
    const leases = [...this.#unreleased];
    this.#unreleased.clear();
    await Promise.all(leases.map((leaseId) => this.#release(leaseId, Promise.resolve())));
    // a lease whose commit is still on its way is committed twice, which changes nothing
    await this.#enter([...this.#held.values()].filter(({ settled }) => !settled));
  }

  /** The ledger is empty after a new registration: enters what the running requests hold. */
  async rebuild(): Promise<void> {
    this.#unreleased.clear();
    await this.#enter([...this.#held.values()]);
  }

  async #enter(leases: readonly Held[]): Promise<void> {
    const enter = async (held: Held): Promise<void> => {
      try {
        await this.#write(held, () =>
          this.ledger.commit({ ...this.identity(), leaseId: held.leaseId }, held.pages),
        );
        held.settled = true;
      } catch (error) {
        held.settled = false;
        if (!isUnsettled(error)) this.#faults.warn(error, 'a lease was not entered again');
      }
    };
    await Promise.all(leases.map(enter));
  }

  async #release(leaseId: string, after: Promise<unknown>): Promise<void> {
    await after.catch(() => undefined);
    try {
      await this.ledger.release({ ...this.identity(), leaseId });
    } catch (error) {
      if (isAway(error)) this.#unreleased.add(leaseId);
      else this.#faults.warn(error, 'a lease was not released');
    }
  }

  #set(held: Held, pages: number): Promise<void> {
    const key = { ...this.identity(), leaseId: held.leaseId };
    return held.settled ? this.ledger.extend(key, pages) : this.ledger.commit(key, pages);
  }

  #write(held: Held, write: () => Promise<void>): Promise<void> {
    const result = held.tail.catch(() => undefined).then(write);
    held.tail = result;
    return result;
  }
}

const AWAY: readonly ErrorCode[] = ['LEDGER_UNAVAILABLE', 'NO_WORKER'];
/** With a newer epoch the registration finds out whose it is; what the requests hold is entered under it. */
const UNSETTLED: readonly ErrorCode[] = [...AWAY, 'STALE_EPOCH'];

/** The ledger does not answer, or has forgotten this worker and will hear of it with the next heartbeat. */
function isAway(error: unknown): boolean {
  return error instanceof KvcError && AWAY.includes(error.code);
}

function isUnsettled(error: unknown): boolean {
  return error instanceof KvcError && UNSETTLED.includes(error.code);
}
