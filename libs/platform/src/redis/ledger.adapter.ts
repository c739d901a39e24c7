import {
  LEASE_TTL_MS,
  type LeaseKey,
  type LedgerAccount,
  type LedgerPort,
  MOST_RELEASED,
  RELEASED_TTL_MS,
  type ReservingRouter,
  type RouterIdentity,
} from '@kvcapsule/domain/ledger';

import { checkCount, checkWorkerId } from './checks.js';
import { runVerb } from './client.js';
import type { RedisClient } from './scripts.js';
import { typesOf, type WorkerKeys, workerKeys } from './keys.js';
import { throwOnCode } from './script-codes.js';
import { keys5, keys6 } from './scripts.js';

/** The ledger in Redis. Verbs and rejections: see `LedgerPort`; extending a lease not committed is `INTERNAL`. */
export class RedisLedger implements LedgerPort {
  /** @param router in whose name is reserved: nobody's where there is none, as with workers, which do not */
  constructor(
    private readonly client: RedisClient,
    private readonly router?: ReservingRouter,
  ) {}

  async reserve(key: LeaseKey, pages: number, ttlMs = LEASE_TTL_MS): Promise<void> {
    checkCount('ttlMs', ttlMs);
    const reserve = (as: RouterIdentity) => this.#reserve(key, pages, ttlMs, as);
    await (this.router ? this.router.run(reserve) : reserve(NOBODY));
  }

  async commit(key: LeaseKey, pages: number): Promise<void> {
    await this.write(key, pages, (keys) =>
      this.client.kvcCommit(...keys5(keys), key.epoch, key.leaseId, pages),
    );
  }

  async extend(key: LeaseKey, pages: number): Promise<void> {
    await this.write(key, pages, (keys) =>
      this.client.kvcExtend(...keys5(keys), key.epoch, key.leaseId, pages),
    );
  }

  async release(key: LeaseKey): Promise<void> {
    await this.write(key, 0, (keys) =>
      this.client.kvcRelease(...keys5(keys), key.epoch, key.leaseId, RELEASED_TTL_MS, MOST_RELEASED),
    );
  }

  async account(workerId: string): Promise<LedgerAccount | undefined> {
    checkWorkerId(workerId);
    const keys = workerKeys(workerId);
    const answer = await runVerb(this.client, typesOf(keys), () =>
      this.client.kvcAccount(keys.info, keys.leases),
    );
    if (answer === null) {
      return undefined;
    }
    const [epoch, capacity, reserved, committed, leases] = answer;
    return {
      workerId,
      epoch: Number(epoch),
      capacityPages: Number(capacity),
      reservedPages: Number(reserved),
      committedPages: Number(committed),
      leases,
    };
  }

  async #reserve(key: LeaseKey, pages: number, ttlMs: number, { routerId, epoch }: RouterIdentity) {
    await this.write(key, pages, (keys) =>
      this.client.kvcReserve(
        ...keys6(keys),
        ...([key.epoch, key.leaseId, pages, ttlMs, routerId, epoch, RELEASED_TTL_MS] as const),
      ),
    );
  }

  private async write(
    key: LeaseKey,
    pages: number,
    script: (keys: WorkerKeys) => Promise<number>,
  ): Promise<void> {
    checkWorkerId(key.workerId);
    checkCount('pages', pages);
    checkCount('epoch', key.epoch);
    const keys = workerKeys(key.workerId);
    throwOnCode(await runVerb(this.client, typesOf(keys), () => script(keys)), key.workerId);
  }
}

const NOBODY: RouterIdentity = { routerId: '', epoch: 0 };
