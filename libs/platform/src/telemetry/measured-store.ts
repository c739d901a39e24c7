import { type ErrorCode, KvcError } from '@kvcapsule/contracts';
import type { LeaseKey, LedgerAccount, LedgerPort } from '@kvcapsule/domain/ledger';
import type {
  Following,
  Registrant,
  RegistryListener,
  RegistryPort,
  WorkerDescriptor,
  WorkerLoad,
} from '@kvcapsule/domain/registry';
import type { Counter } from 'prom-client';

import type { LabelledHistogram } from './histogram.js';

/** Where a store's verbs are noted. */
interface StoreMetrics {
  /** Answers, refusals too. */
  readonly redis: LabelledHistogram<'verb'>;
  /** No answer, or not as it should be. */
  readonly redisErrors: Counter<'verb'>;
  readonly ledgerRefusals: Counter<'verb' | 'reason'>;
}

/** Answers of the ledger and the registry that are no faults of the store. */
const REFUSALS: readonly ErrorCode[] = ['NO_CAPACITY', 'NO_WORKER', 'STALE_EPOCH', 'STALE_ROUTER', 'ABORTED'];

async function measured<T>(metrics: StoreMetrics, verb: string, answer: Promise<T>): Promise<T> {
  const beganMs = performance.now();
  const answered = () => {
    metrics.redis.labels({ verb }).observe((performance.now() - beganMs) / 1_000);
  };
  try {
    const value = await answer;
    answered();
    return value;
  } catch (error) {
    const refusal = REFUSALS.find((code) => error instanceof KvcError && error.code === code);
    if (refusal) {
      answered();
      metrics.ledgerRefusals.inc({ verb, reason: refusal.toLowerCase() });
    } else metrics.redisErrors.inc({ verb });
    throw error;
  }
}

/** A ledger whose verbs are timed. */
export class MeasuredLedger implements LedgerPort {
  constructor(
    private readonly ledger: LedgerPort,
    private readonly metrics: StoreMetrics,
  ) {}

  reserve(key: LeaseKey, pages: number, ttlMs?: number): Promise<void> {
    return measured(this.metrics, 'reserve', this.ledger.reserve(key, pages, ttlMs));
  }

  commit(key: LeaseKey, pages: number): Promise<void> {
    return measured(this.metrics, 'commit', this.ledger.commit(key, pages));
  }

  extend(key: LeaseKey, pages: number): Promise<void> {
    return measured(this.metrics, 'extend', this.ledger.extend(key, pages));
  }

  release(key: LeaseKey): Promise<void> {
    return measured(this.metrics, 'release', this.ledger.release(key));
  }

  account(workerId: string): Promise<LedgerAccount | undefined> {
    return this.ledger.account(workerId);
  }
}

/** A registry whose verbs are timed, but for following, which waits for news. */
export class MeasuredRegistry implements RegistryPort {
  constructor(
    private readonly registry: RegistryPort,
    private readonly metrics: StoreMetrics,
  ) {}

  register(worker: WorkerDescriptor, load: WorkerLoad, by: Registrant): Promise<{ epoch: number }> {
    return measured(this.metrics, 'register', this.registry.register(worker, load, by));
  }

  heartbeat(worker: WorkerDescriptor, epoch: number, load: WorkerLoad): Promise<void> {
    return measured(this.metrics, 'heartbeat', this.registry.heartbeat(worker, epoch, load));
  }

  freed(workerId: string, epoch: number, load: WorkerLoad): Promise<void> {
    return measured(this.metrics, 'freed', this.registry.freed(workerId, epoch, load));
  }

  deregister(workerId: string, epoch: number): Promise<void> {
    return this.registry.deregister(workerId, epoch);
  }

  follow(listener: RegistryListener): Promise<Following> {
    return this.registry.follow(listener);
  }
}
