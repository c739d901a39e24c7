import { KvcError } from '@kvcapsule/contracts/errors';
import type { LeaseKey, LedgerAccount, LedgerPort } from '@kvcapsule/domain/ledger';
import type { RegistryPort, WorkerDescriptor, WorkerLoad, WorkerRecord } from '@kvcapsule/domain/registry';

/** Registry and ledger of one process; `away` makes every call fail as if the store did not answer. */
export class MemoryStore implements RegistryPort, LedgerPort {
  away = false;
  readonly leases = new Map<string, { pages: number; committed: boolean }>();
  record: WorkerRecord | undefined;
  epoch = 0;
  heartbeats = 0;

  async register(worker: WorkerDescriptor, load: WorkerLoad): Promise<{ epoch: number }> {
    await this.#answer();
    this.epoch += 1;
    this.leases.clear();
    this.record = { ...worker, epoch: this.epoch, load };
    return { epoch: this.epoch };
  }

  async heartbeat(_workerId: string, epoch: number, load: WorkerLoad): Promise<void> {
    await this.#answer();
    if (!this.record) throw new KvcError('NO_WORKER', 'not registered');
    this.#checkEpoch(epoch);
    this.heartbeats += 1;
    this.record = { ...this.record, load };
  }

  async deregister(_workerId: string, epoch: number): Promise<void> {
    await this.#answer();
    if (epoch === this.epoch) this.record = undefined;
  }

  async list(): Promise<readonly WorkerRecord[]> {
    await this.#answer();
    return this.record ? [this.record] : [];
  }

  async reserve(key: LeaseKey, pages: number): Promise<void> {
    await this.#set(key, pages, false);
  }

  async commit(key: LeaseKey, pages: number): Promise<void> {
    await this.#set(key, pages, true);
  }

  async extend(key: LeaseKey, pages: number): Promise<void> {
    await this.#answer();
    if (!this.leases.get(key.leaseId)?.committed) throw new KvcError('INTERNAL', 'not committed');
    await this.#set(key, pages, true);
  }

  async release(key: LeaseKey): Promise<void> {
    await this.#answer();
    this.leases.delete(key.leaseId);
  }

  sweep(): Promise<number> {
    return Promise.resolve(0);
  }

  account(): Promise<LedgerAccount | undefined> {
    return Promise.resolve(undefined);
  }

  /** What a restart of the store leaves behind. */
  forget(): void {
    this.record = undefined;
    this.leases.clear();
  }

  get leasedPages(): number {
    return [...this.leases.values()].reduce((sum, { pages }) => sum + pages, 0);
  }

  async #set(key: LeaseKey, pages: number, committed: boolean): Promise<void> {
    await this.#answer();
    if (!this.record) throw new KvcError('NO_WORKER', 'not registered');
    this.#checkEpoch(key.epoch);
    const before = this.leases.get(key.leaseId)?.pages ?? 0;
    if (pages > before && this.leasedPages - before + pages > this.record.capacityPages) {
      throw new KvcError('NO_CAPACITY', 'too few pages');
    }
    this.leases.set(key.leaseId, { pages, committed });
  }

  #checkEpoch(epoch: number): void {
    if (epoch !== this.epoch) throw new KvcError('STALE_EPOCH', 'a newer epoch');
  }

  async #answer(): Promise<void> {
    await Promise.resolve();
    if (this.away) throw new KvcError('LEDGER_UNAVAILABLE', 'away');
  }
}
