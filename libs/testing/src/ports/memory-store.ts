import { KvcError } from '@kvcapsule/contracts/errors';
import { WorkerLedger } from '@kvcapsule/domain/ledger';
import { RouterRoll, type WorkerDescriptor, type WorkerLoad } from '@kvcapsule/domain/registry';

interface Entry {
  readonly ledger: WorkerLedger;
  descriptor?: WorkerDescriptor;
  load?: WorkerLoad;
}

export interface MemoryLease {
  readonly pages: number;
  readonly committed: boolean;
}

/**
 * What a store of one process holds: `MemoryRegistry` and `MemoryLedger` are its two doors, as Redis has two. Its
 * clock stands still unless a test moves it.
 */
export class MemoryStore {
  nowMs = 0;
  /** Every call fails and changes nothing, as if the store were not there. */
  away = false;
  /** Every call is carried out, but its answer is lost. */
  losesAnswers = false;
  /** Called after each verb of the registry. */
  readonly followers = new Set<() => void>();
  routers = new RouterRoll();
  readonly #entries = new Map<string, Entry>();

  /** As when the store is restarted empty: it knows nothing, and meanwhile a second has passed. */
  forget(): void {
    this.nowMs += 1_000;
    this.#entries.clear();
    this.routers = new RouterRoll();
  }

  /** Carries a call out as the faults above have it. */
  async answer<T>(call: () => T): Promise<T> {
    await Promise.resolve();
    if (this.away) throw new KvcError('LEDGER_UNAVAILABLE', 'Redis does not answer in time');
    const answer = call();
    if (this.losesAnswers) throw new KvcError('LEDGER_UNAVAILABLE', 'the answer was lost');
    return answer;
  }

  entry(workerId: string): Entry {
    const known = this.#entries.get(workerId);
    if (known) return known;
    const entry = { ledger: new WorkerLedger() };
    this.#entries.set(workerId, entry);
    return entry;
  }

  get workerIds(): readonly string[] {
    return [...this.#entries.keys()].sort();
  }

  /** The leases of all workers. */
  get leases(): ReadonlyMap<string, MemoryLease> {
    const all = [...this.#entries.values()].flatMap(({ ledger }) => [...ledger.leases()]);
    return new Map(all.map(({ leaseId, pages, committed }) => [leaseId, { pages, committed }]));
  }

  get leasedPages(): number {
    return [...this.leases.values()].reduce((sum, { pages }) => sum + pages, 0);
  }
}
