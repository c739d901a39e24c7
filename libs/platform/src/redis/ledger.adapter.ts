import {
  LEASE_TTL_MS,
  type LeaseKey,
  type LedgerAccount,
  type LedgerPort,
  MOST_RELEASED,
  RELEASED_TTL_MS,
} from '@kvcapsule/domain/ledger';

import { checkCount, checkWorkerId } from './checks.js';
import { runVerb } from './client.js';
import type { RedisClient } from './scripts.js';
import { typesOf, workerKeys } from './keys.js';
import { throwOnCode } from './script-codes.js';
import { keys5 } from './scripts.js';

/** The ledger in Redis. Verbs and rejections: see `LedgerPort`; extending a lease not committed is `INTERNAL`. */
export class RedisLedger implements LedgerPort {
  constructor(private readonly client: RedisClient) {}

  async reserve(key: LeaseKey, pages: number, ttlMs = LEASE_TTL_MS): Promise<void> {
    checkCount('ttlMs', ttlMs);
    await this.write(key, pages, (keys) =>
      this.client.kvcReserve(...keys, key.epoch, key.leaseId, pages, ttlMs),
    );
  }

  async commit(key: LeaseKey, pages: number): Promise<void> {
    await this.write(key, pages, (keys) => this.client.kvcCommit(...keys, key.epoch, key.leaseId, pages));
  }

  async extend(key: LeaseKey, pages: number): Promise<void> {
    await this.write(key, pages, (keys) => this.client.kvcExtend(...keys, key.epoch, key.leaseId, pages));
  }

  async release(key: LeaseKey): Promise<void> {
    await this.write(key, 0, (keys) =>
      this.client.kvcRelease(...keys, key.epoch, key.leaseId, RELEASED_TTL_MS, MOST_RELEASED),
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

  private async write(
    key: LeaseKey,
    pages: number,
    script: (keys: ReturnType<typeof keys5>) => Promise<number>,
  ): Promise<void> {
    checkWorkerId(key.workerId);
    checkCount('pages', pages);
    checkCount('epoch', key.epoch);
    const keys = workerKeys(key.workerId);
    throwOnCode(await runVerb(this.client, typesOf(keys), () => script(keys5(keys))), key.workerId);
  }
}
