import {
  LEASE_TTL_MS,
  type LeaseKey,
  type LedgerAccount,
  type LedgerPort,
  type LedgerRefusal,
  refusalError,
  type ReservingRouter,
  type RouterIdentity,
  type WorkerLedger,
} from '@kvcapsule/domain/ledger';

import { type MemoryStore } from './memory-store.js';

/** The ledger's rules in memory. */
export class MemoryLedger implements LedgerPort {
  constructor(
    private readonly store: MemoryStore,
    private readonly router?: ReservingRouter,
  ) {}

  async reserve(key: LeaseKey, pages: number, ttlMs = LEASE_TTL_MS): Promise<void> {
    const { epoch, leaseId } = key;
    const reserve = (as?: RouterIdentity) =>
      this.#write(key, (ledger, nowMs) => ledger.reserve(epoch, leaseId, pages, ttlMs, nowMs, as));
    await (this.router ? this.router.run(reserve) : reserve());
  }

  async commit(key: LeaseKey, pages: number): Promise<void> {
    await this.#write(key, (ledger, nowMs) => ledger.commit(key.epoch, key.leaseId, pages, nowMs));
  }

  async extend(key: LeaseKey, pages: number): Promise<void> {
    await this.#write(key, (ledger, nowMs) => ledger.extend(key.epoch, key.leaseId, pages, nowMs));
  }

  async release(key: LeaseKey): Promise<void> {
    await this.#write(key, (ledger, nowMs) => {
      ledger.release(key.epoch, key.leaseId, nowMs);
      return undefined;
    });
  }

  account(workerId: string): Promise<LedgerAccount | undefined> {
    return this.store.answer(() => {
      const account = this.store.entry(workerId).ledger.account(this.store.nowMs);
      return account && { workerId, ...account };
    });
  }

  async #write(
    { workerId }: LeaseKey,
    verb: (ledger: WorkerLedger, nowMs: number) => LedgerRefusal | undefined,
  ): Promise<void> {
    await this.store.answer(() => {
      const refusal = verb(this.store.entry(workerId).ledger, this.store.nowMs);
      if (refusal) throw refusalError(refusal, workerId);
    });
  }
}
