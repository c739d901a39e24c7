import { setTimeout as sleep } from 'node:timers/promises';
import { type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import { processOf, type SystemFingerprint } from '@kvcapsule/domain/placement';
import type { WorkerRecord } from '@kvcapsule/domain/registry';
import { type AttemptFailure, type Attempts, RetryBudget } from '@kvcapsule/domain/retries';
import { Injectable } from '@nestjs/common';
import { Fleet } from '../fleet/fleet.service.js';
import { Telemetry } from '../operations/telemetry.service.js';
import type { Demand } from '../placement/demand.js';
import type { Reservation } from '../placement/reservation.js';
import { Reserver } from '../placement/reserver.service.js';
import { Settings } from '../settings.js';

/** A fifth more requests at most; a worker that breaks may still take along all that it has in prefill. */
const BUDGET = { perRequest: 0.2, perSecond: 10, most: 256 };
/** How long an answer that has begun waits for a worker that goes on bit for bit, while others have room. */
const EQUAL_WAIT_MS = 2_000;
/** Between two looks for a worker. */
const FIRST_LOOK_MS = 20;
const LONGEST_LOOK_MS = 500;
/** How long a client should wait that is refused for want of retries: as long as the floor takes for ten of them. */
const RETRY_AFTER_MS = 1_000;

/** Faults of a worker rather than of the request: another one may do better. */
const WORKER_FAULTS: Partial<Record<ErrorCode, AttemptFailure>> = {
  WORKER_LOST: 'broken',
  ENGINE_FAILED: 'broken',
  STALE_EPOCH: 'refused',
  NO_WORKER: 'refused',
  DRAINING: 'refused',
};

/** What an answer that has begun goes on with. */
export interface Continuation {
  /** With the tokens that are there already. */
  readonly demand: Demand;
  /** Of the worker that it lay with. */
  readonly fingerprint: SystemFingerprint;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** Why it lies there no more. */
  readonly fault: KvcError;
}

/** What becomes of requests whose worker failed: which may be tried again, and where answers that have begun go on. */
@Injectable()
export class Failover {
  readonly #budget = new RetryBudget(BUDGET, performance.now());

  constructor(
    private readonly settings: Settings,
    private readonly fleet: Fleet,
    private readonly reserver: Reserver,
    private readonly telemetry: Telemetry,
  ) {}

  /** A request has begun. */
  begun(): void {
    this.#budget.deposit();
  }

  /**
   * Counts an attempt with a worker that a fault of the worker has ended.
   *
   * @param progressed it brought tokens of the answer
   * @throws what the request fails with where it may not be tried again
   */
  check(fault: KvcError, attempts: Attempts, worker: WorkerRecord, progressed: boolean): void {
    const how = WORKER_FAULTS[fault.code] ?? 'broken';
    attempts.survived((process) => this.fleet.answers(process));
    attempts.failed(how, progressed, fault.code === 'WORKER_LOST' ? processOf(worker) : undefined);
    if (attempts.exhausted) throw this.#ended('exhausted', exhausted(attempts, fault));
    if (how === 'refused' || progressed || this.#budget.take(performance.now())) return;
    throw this.#ended('over_budget', waiting(fault));
  }

  /** Nobody may take the request over: it fails with this. */
  givenUp(fault: KvcError): KvcError {
    return this.#ended('no_worker', fault);
  }

  /** The request is asked of another worker; `answered` tokens of the answer are there. */
  moved(answered: number, isEqual: boolean): void {
    const { failovers, resumedTokens } = this.telemetry.metrics;
    failovers.inc({ outcome: answered === 0 ? 'restarted' : isEqual ? 'resumed' : 'resumed_elsewhere' });
    resumedTokens.inc(answered);
  }

  /**
   * Finds a worker for an answer that has begun: it has had its turn, so it waits behind nobody. One that goes on bit
   * for bit is preferred. Rejects with the fault when there is none for as long as requests may wait for room.
   */
  async reserve({ demand, fingerprint, deadlineMs, signal, fault }: Continuation): Promise<Reservation> {
    const beganMs = performance.now();
    const equal = { ...demand, fingerprint };
    const untilMs = Math.min(deadlineMs, beganMs + this.settings.queueWaitMs);
    for (let waitMs = FIRST_LOOK_MS; ; waitMs = Math.min(2 * waitMs, LONGEST_LOOK_MS)) {
      const insists = performance.now() < beganMs + EQUAL_WAIT_MS && this.reserver.hasOthers(equal);
      const reservation = await this.#tryReserve(insists ? equal : demand);
      if (reservation && !signal.aborted) return reservation;
      if (reservation) await this.reserver.release(reservation);
      signal.throwIfAborted();
      if (performance.now() + waitMs > untilMs) throw this.givenUp(waiting(fault));
      await pause(waitMs * (0.5 + Math.random() / 2), signal);
    }
  }

  /** Neither a full cluster, nor an empty one, nor a ledger that is away ends an answer before its time. */
  async #tryReserve(demand: Demand): Promise<Reservation | undefined> {
    try {
      return await this.reserver.reserve(demand);
    } catch (error) {
      if (error instanceof KvcError) return undefined;
      throw error;
    }
  }

  #ended(outcome: 'exhausted' | 'over_budget' | 'no_worker', error: KvcError): KvcError {
    this.telemetry.metrics.failovers.inc({ outcome });
    return error;
  }
}

/** Rejects with the signal's reason when it fires. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms > 0) await sleep(ms, undefined, { signal }).catch(() => undefined);
  signal.throwIfAborted();
}

export function isWorkerFault(error: unknown): error is KvcError {
  return error instanceof KvcError && WORKER_FAULTS[error.code] !== undefined;
}

function exhausted({ broken }: Attempts, cause: KvcError): KvcError {
  const message = `${broken} workers in a row stopped while they answered this request.`;
  return new KvcError('RETRIES_EXHAUSTED', message, { cause });
}

/** The fault with how long to wait, since workers do not come back at once. */
function waiting(fault: KvcError): KvcError {
  if (fault.retryAfterMs !== undefined) return fault;
  return new KvcError(fault.code, fault.message, { ...fault.options, retryAfterMs: RETRY_AFTER_MS });
}
