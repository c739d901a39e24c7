import { randomUUID } from 'node:crypto';
import { KvcError } from '@kvcapsule/contracts/errors';
import { leavesHeadroom, NO_HEADROOM, type Turn } from '@kvcapsule/domain/admission';
import type { LeaseKey } from '@kvcapsule/domain/ledger';
import {
  type Decision,
  firstTokenTokens,
  ownTokens,
  type Pick,
  type Work,
  type WorkerView,
} from '@kvcapsule/domain/placement';
import type { Trial } from '@kvcapsule/domain/retries';
import { Injectable } from '@nestjs/common';
import { Fleet } from '../fleet/fleet.service.js';
import { Telemetry } from '../operations/telemetry.service.js';
import { Settings } from '../settings.js';
import type { Demand } from './demand.js';
import { type LedgerAnswer, LedgerGuard } from './ledger-guard.service.js';
import { type GuardedDecision, Placement } from './placement.service.js';
import type { Reservation } from './reservation.js';
import { rejectedBy, unplaceable } from './unplaceable.js';

/**
 * The most reservations of one attempt. Each is a round trip to Redis, and only workers whose last heartbeat shows
 * room are asked: when three of them in turn are full, so is about everything, and the next heartbeats tell more.
 */
export const MOST_RESERVATIONS = 3;

/** Of a request that takes no turns with others. */
const NO_TURN: Turn = { headroom: NO_HEADROOM, isGuest: false };

type Begun = Omit<Taken, 'key' | 'provisional'>;
type Taken = Omit<Reservation, 'record' | 'pages' | 'pick' | 'isRefused'>;

/** Finds a worker for a request and sets its pages aside in the ledger. */
@Injectable()
export class Reserver {
  constructor(
    private readonly settings: Settings,
    private readonly ledger: LedgerGuard,
    private readonly fleet: Fleet,
    private readonly placement: Placement,
    private readonly telemetry: Telemetry,
  ) {}

  /**
   * Rejects with `KV_CAPACITY_EXCEEDED` what no worker could take if all were empty: behind others it would wait for
   * its turn to be told so, or leave with `NO_CAPACITY` and be sent again in vain.
   */
  async checkFits(demand: Demand): Promise<void> {
    if (this.placement.canPlace(demand) || !isTooLarge(this.placement.decide(demand, 0))) return;
    const decision = await this.#decideOnNews(demand);
    if (isTooLarge(decision)) throw unplaceable(demand, decision);
  }

  /**
   * Resolves to undefined while every worker that could take the request is full. Rejects with `NO_WORKER` or
   * `KV_CAPACITY_EXCEEDED` when waiting is of no use. While the ledger is away a worker is chosen by what this router
   * knows, and asked by the request itself; so is one that the store has forgotten, where no other has room.
   *
   * @param turn what it may take: what has to stay free for others is no room for it
   */
  async reserve(demand: Demand, turn: Turn = NO_TURN): Promise<Reservation | undefined> {
    const { headroom, isGuest } = turn;
    const asking = isGuest ? { ...demand, isGuest } : demand;
    let decision = this.#decide(asking, MOST_RESERVATIONS);
    // not a moment passes between a decision and its request counting, or those that arrive at one time decide alike
    if (!isPlaceable(decision)) decision = await this.#decideOnNews(asking);
    if (!isPlaceable(decision)) throw unplaceable(demand, decision);
    let forgotten: Pick | undefined;
    for (const pick of decision.picks) {
      const pages = demand.pagesOn(pick.worker);
      if (!leavesHeadroom(decision.candidates, pick.worker, pages, headroom)) continue;
      const trial = this.fleet.begin(pick.worker.record, decision.ignoresBreakers);
      if (!trial) continue;
      const answer = await this.#ask(demand, pick, trial);
      if (typeof answer === 'object') return answer;
      if (answer === 'forgotten') forgotten ??= pick;
    }
    const trial = forgotten && this.fleet.begin(forgotten.worker.record, decision.ignoresBreakers);
    if (forgotten && trial) {
      return this.#provisional(demand, forgotten, this.#begin(demand, forgotten, trial));
    }
    this.fleet.wanted();
    return undefined;
  }

  /**
   * What has begun is over where no reservation comes of it. It begins before the ledger answers: whoever is placed
   * meanwhile knows of it.
   */
  async #ask(demand: Demand, pick: Pick, trial: Trial): Promise<Reservation | LedgerAnswer> {
    const key = newLease(pick.worker);
    const begun = this.#begin(demand, pick, trial);
    let answer: LedgerAnswer | undefined;
    try {
      answer = await this.ledger.reserve(key, demand.pagesOn(pick.worker));
      if (answer === 'reserved')
        return this.#reservation(demand, pick, { key, ...begun, provisional: false });
      return answer === 'away' ? this.#provisional(demand, pick, begun) : answer;
    } finally {
      if (answer !== 'reserved' && answer !== 'away') {
        begun.work.ended();
        begun.tracked.left(false);
        trial.left();
      }
    }
  }

  /**
   * Whether a request goes on waiting for room after an attempt's error: the worker that it was sent to had none, by its
   * own account, which is no fault of the worker. It is asked again when the fleet has changed. Throws `NO_CAPACITY`
   * where that goes on for longer than requests may wait.
   */
  waitsOn(demand: Demand, reservation: Reservation, error: unknown): error is KvcError {
    if (!(error instanceof KvcError) || error.code !== 'NO_CAPACITY') return false;
    const nowMs = performance.now();
    demand.refusedMs ??= nowMs;
    demand.refused.set(reservation.record.workerId, this.fleet.changes);
    reservation.isRefused = true;
    this.telemetry.metrics.reservations.inc({ outcome: 'refused_by_worker' });
    const { queueWaitMs } = this.settings;
    if (nowMs - demand.refusedMs < queueWaitMs) return true;
    const message = `No worker had room for this request within ${queueWaitMs / 1_000} s.`;
    throw new KvcError('NO_CAPACITY', message, { retryAfterMs: 1_000 });
  }

  /** Whether a worker that has not failed the request could take it, if not at this moment. */
  hasOthers(demand: Demand): boolean {
    return this.placement.canPlace(demand);
  }

  /** Never rejects: a lease that cannot be given back here is by its worker, or runs out. */
  async release(reservation: Reservation): Promise<void> {
    const { key, work, trial, tracked, provisional, isRefused = false, isUnconfirmed = false } = reservation;
    work.ended();
    trial.left();
    tracked.left(!isUnconfirmed);
    if (isUnconfirmed) return;
    if (!provisional) await this.ledger.giveBack(key);
    if (!isRefused) this.fleet.changed();
  }

  /** A worker that has come back stands in the registry before the next refresh shows it: who is refused asks first. */
  async #decideOnNews(demand: Demand): Promise<GuardedDecision> {
    await this.fleet.lookAgain();
    return this.#decide(demand, MOST_RESERVATIONS);
  }

  /** Workers that had no room for it after all are not tried again before something has changed. */
  #decide(demand: Demand, count: number): GuardedDecision {
    const decision = this.placement.decide(demand, count);
    if (demand.refused.size === 0) return decision;
    const mayTry = (worker: WorkerView) => !this.#hasJustRefused(demand, worker);
    const { picks } = this.placement.decideAmong(demand, count, decision, mayTry);
    return { ...decision, picks };
  }

  #hasJustRefused({ refused }: Demand, { record }: WorkerView): boolean {
    return refused.get(record.workerId) === this.fleet.changes;
  }

  /** Under a lease of its own: the one that the ledger was asked for may be given back yet. */
  #provisional(demand: Demand, pick: Pick, begun: Begun): Reservation {
    return this.#reservation(demand, pick, { key: newLease(pick.worker), ...begun, provisional: true });
  }

  #begin(demand: Demand, pick: Pick, trial: Trial): Begun {
    return { trial, work: this.#send(demand, pick), tracked: this.fleet.track(pick.worker.record.workerId) };
  }

  /** From here on the worker counts as computing it. */
  #send(demand: Demand, { worker, held }: Pick): Work {
    const { workerId } = worker.record;
    const load = this.fleet.send(workerId, ownTokens(demand, held), firstTokenTokens(demand, worker, held));
    const sent = demand.send(worker);
    return {
      answered: (nowMs) => {
        load.answered(nowMs);
        sent(true);
      },
      ended: () => {
        load.ended();
        sent(false);
      },
    };
  }

  #reservation(demand: Demand, pick: Pick, taken: Taken): Reservation {
    const { worker } = pick;
    const { record } = worker;
    const { arithmetic, precision } = record;
    demand.prefers = { arithmetic, precision };
    this.telemetry.metrics.reservations.inc({ outcome: taken.provisional ? 'provisional' : 'reserved' });
    const pages = demand.pagesOn(worker);
    taken.tracked.holds(pages);
    return { record, ...taken, pages, pick };
  }
}

function newLease({ record: { workerId, epoch } }: WorkerView): LeaseKey {
  return { workerId, epoch, leaseId: randomUUID() };
}

/** Whether a worker can take it, at this moment or when what stands against it has passed. */
export function isPlaceable({ candidates, rejected }: Decision): boolean {
  return candidates.length > 0 || [...rejected.keys()].some(({ passes }) => passes);
}

function isTooLarge(decision: Decision): boolean {
  return !isPlaceable(decision) && rejectedBy('capacity', decision.rejected).length > 0;
}
