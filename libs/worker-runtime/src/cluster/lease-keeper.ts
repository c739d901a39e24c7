import { type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import { type LedgerPort, MOST_RELEASED } from '@kvcapsule/domain/ledger';
import { RepeatedFaults } from '@kvcapsule/platform/faults';
import type { Lease, ResizeAnswer } from '@kvcapsule/serving';
import type { Logger } from 'pino';

interface Held {
  readonly leaseId: string;
  /** In the worker's own account. */
  pages: number;
  /** As many, or more while the ledger is asked for them. */
  asked: number;
  /**
   * Whether the ledger surely holds it with these pages. After a write without an answer nobody knows: the next
   * resize or heartbeat commits it anew, which sets its pages whatever came of that write.
   */
  settled: boolean;
  /** Whether the ledger may know it: a router reserved it there, or it was written. */
  known: boolean;
  /** Writes of one lease go out one after the other. */
  tail: Promise<unknown>;
}

/** Which worker process writes to the ledger; the epoch changes when it registers again. */
export interface LedgerIdentity {
  readonly workerId: string;
  readonly epoch: number;
}

export interface LeaseKeeperParts {
  readonly ledger: LedgerPort;
  readonly identity: () => LedgerIdentity;
  /** Of the worker's pool. */
  readonly capacityPages: number;
  /** The lease was given back by whoever reserved it: nobody waits for its request. */
  readonly givenBack: (key: string, error: KvcError) => void;
  /** The ledger has pages back that a lease held. */
  readonly freed: () => void;
  /** The store has no record of this worker: it is to register again. */
  readonly forgotten: () => void;
  readonly logger: Logger;
}

/**
 * The worker's own account of leases, and its side of the ledger. The account decides, at once and whether the ledger
 * answers or not: what is taken on never passes the capacity together. The ledger follows: what it does not know yet,
 * or could not be given back, is written with every heartbeat, and while it is away nothing else is sent there.
 */
export class LeaseKeeper {
  /** By generation key. */
  readonly #held = new Map<string, Held>();
  readonly #unreleased = new Set<string>();
  /** That this process has registered under: a lease of an earlier one was lost with the store, not with the worker. */
  readonly #epochs = new Set<number>();
  readonly #faults: RepeatedFaults;
  /** From the first write without an answer to the next heartbeat that has one. */
  #away = false;

  constructor(private readonly parts: LeaseKeeperParts) {
    this.#faults = new RepeatedFaults(parts.logger);
  }

  /**
   * Takes a lease on, or rejects with `STALE_EPOCH` for another process's, or with `NO_CAPACITY` where what was taken
   * on before leaves too little room. The ledger is not waited for: pages that a router reserved there stay reserved
   * long enough, and where they do not, others who reserve them are refused here.
   */
  async accept(key: string, lease: Lease): Promise<void> {
    const epoch = Number(lease.epoch);
    if (epoch !== this.parts.identity().epoch && !this.#epochs.has(epoch))
      throw new KvcError('STALE_EPOCH', 'The lease belongs to another process than this worker.');
    if (!this.#hasRoom(lease.pages))
      throw new KvcError('NO_CAPACITY', 'The worker has too few free pages.', { retryAfterMs: 1_000 });
    const { leaseId, pages, provisional = false } = lease;
    const held = { leaseId, pages, asked: pages, settled: false, known: !provisional };
    this.#held.set(key, { ...held, tail: Promise.resolve() });
    void this.#enter([key]);
    return Promise.resolve();
  }

  /** Sets the pages of a lease. Never rejects. */
  async resize(key: string, pages: number): Promise<ResizeAnswer> {
    const held = this.#held.get(key);
    if (!held) return 'unknown';
    if (held.pages === pages && held.settled) return 'set';
    if (!this.#hasRoom(pages - held.asked)) return 'refused';
    held.asked = Math.max(held.pages, pages);
    try {
      await this.#write(held, () => this.#set(held, pages));
      held.settled = true;
      if (pages < held.pages) this.parts.freed();
    } catch (error) {
      if (codeOf(error) === 'NO_CAPACITY') {
        held.asked = held.pages;
        return 'refused';
      }
      held.settled = false;
      this.#failed(key, error, 'a lease was not resized');
    }
    held.pages = held.asked = pages;
    return 'set';
  }

  /** Gives a lease back. Never rejects. */
  async release(key: string): Promise<void> {
    const held = this.#held.get(key);
    if (!held) return;
    this.#held.delete(key);
    await held.tail.catch(() => undefined);
    if (held.known) await this.#release(held.leaseId);
  }

  /** Gives back a lease that was never taken on, such as one of a refused request. Never rejects. */
  decline(leaseId: string): Promise<void> {
    return this.#release(leaseId);
  }

  /** The ledger answers: tries again what could not be given back or entered. */
  async retry(): Promise<void> {
    this.#away = false;
    const leases = [...this.#unreleased];
    this.#unreleased.clear();
    await Promise.all(leases.map((leaseId) => this.#release(leaseId)));
    // a lease whose commit is still on its way is committed twice, which changes nothing
    await this.#enter([...this.#held].filter(([, { settled }]) => !settled).map(([key]) => key));
  }

  /** The ledger is empty after a new registration: enters what the running requests hold. */
  async rebuild(): Promise<void> {
    this.#epochs.add(this.parts.identity().epoch);
    this.#away = false;
    this.#unreleased.clear();
    await this.#enter([...this.#held.keys()]);
  }

  /** Whether so many more pages keep the account within the capacity; fewer always do. */
  #hasRoom(pages: number): boolean {
    if (pages <= 0) return true;
    let sum = pages;
    for (const { asked } of this.#held.values()) sum += asked;
    return sum <= this.parts.capacityPages;
  }

  async #enter(keys: readonly string[]): Promise<void> {
    const enter = async (key: string): Promise<void> => {
      const held = this.#held.get(key);
      if (!held) return;
      held.settled = false;
      try {
        const pages = await this.#write(held, () => this.#commit(held, held.pages));
        held.settled = held.pages === pages;
      } catch (error) {
        this.#failed(key, error, 'a lease was not entered');
      }
    };
    await Promise.all(keys.map(enter));
  }

  async #release(leaseId: string): Promise<void> {
    try {
      if (this.#away) throw new KvcError('LEDGER_UNAVAILABLE', 'the ledger is away');
      await this.parts.ledger.release(this.#key(leaseId));
      this.parts.freed();
    } catch (error) {
      this.#noteAbsence(error);
      if (!isAway(error)) this.#faults.warn(error, 'a lease was not released');
      else this.#unreleased.add(leaseId);
      // the ledger itself remembers no more: what is older ends with the worker's epoch
      for (const oldest of this.#unreleased) {
        if (this.#unreleased.size <= MOST_RELEASED) break;
        this.#unreleased.delete(oldest);
      }
    }
  }

  #set(held: Held, pages: number): Promise<number> {
    if (!held.settled) return this.#commit(held, pages);
    return this.parts.ledger.extend(this.#key(held.leaseId), pages).then(() => pages);
  }

  /** Resolves to the pages that the ledger has for it. */
  #commit(held: Held, pages: number): Promise<number> {
    held.known = true;
    return this.parts.ledger.commit(this.#key(held.leaseId), pages).then(() => pages);
  }

  #key(leaseId: string) {
    return { ...this.parts.identity(), leaseId };
  }

  #write(held: Held, write: () => Promise<number>): Promise<number> {
    const result = held.tail
      .catch(() => undefined)
      .then(() => {
        if (this.#away) throw new KvcError('LEDGER_UNAVAILABLE', 'the ledger is away');
        return write();
      });
    held.tail = result;
    return result;
  }

  /** What the next heartbeat mends by itself is no line. */
  #failed(key: string, error: unknown, message: string): void {
    this.#noteAbsence(error);
    if (codeOf(error) === 'ABORTED') this.parts.givenBack(key, error as KvcError);
    else if (!UNSETTLED.includes(codeOf(error))) this.#faults.warn(error, message);
  }

  #noteAbsence(error: unknown): void {
    if (!isAway(error) || this.#away) return;
    this.#away = true;
    if (codeOf(error) === 'NO_WORKER') this.parts.forgotten();
  }
}

const AWAY: readonly ErrorCode[] = ['LEDGER_UNAVAILABLE', 'NO_WORKER'];
/**
 * With a newer epoch the registration finds out whose it is, and enters what the requests hold under it. Without
 * capacity others have reserved what this worker had taken on before, and are refused here.
 */
const UNSETTLED: readonly ErrorCode[] = [...AWAY, 'STALE_EPOCH', 'NO_CAPACITY'];

/** The ledger does not answer, or has forgotten this worker. */
function isAway(error: unknown): boolean {
  return AWAY.includes(codeOf(error));
}

function codeOf(error: unknown): ErrorCode {
  return error instanceof KvcError ? error.code : 'INTERNAL';
}
