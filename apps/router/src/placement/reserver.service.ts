import { randomUUID } from 'node:crypto';
import { type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import type { LeaseKey } from '@kvcapsule/domain/ledger';
import {
  type Decision,
  firstTokenTokens,
  ownTokens,
  type Pick,
  type Work,
} from '@kvcapsule/domain/placement';
import type { WorkerRecord } from '@kvcapsule/domain/registry';
import { Injectable } from '@nestjs/common';
import { Fleet } from '../fleet/fleet.service.js';
import { Ports } from '../ports.js';
import type { Demand } from './demand.js';
import { Placement } from './placement.service.js';
import { rejectedBy, unplaceable } from './unplaceable.js';

/**
 * The most reservations of one attempt. Each is a round trip to Redis, and only workers whose last heartbeat shows
 * room are asked: when three of them in turn are full, so is about everything, and the next heartbeats tell more.
 */
const MOST_RESERVATIONS = 3;

/** Answers of the ledger after which nothing was set aside. */
const CERTAIN_REFUSALS: readonly ErrorCode[] = ['NO_CAPACITY', 'STALE_EPOCH', 'NO_WORKER'];

/** Pages set aside for a request on one worker, until they are released. */
export interface Reservation {
  readonly record: WorkerRecord;
  readonly key: LeaseKey;
  readonly pages: number;
  /** Why this worker. */
  readonly pick: Pick;
  /** What the request has it compute, to be told of the first token. */
  readonly work: Work;
  readonly untrack: () => void;
}

/** Finds a worker for a request and sets its pages aside in the ledger. */
@Injectable()
export class Reserver {
  constructor(
    private readonly ports: Ports,
    private readonly fleet: Fleet,
    private readonly placement: Placement,
  ) {}

  /**
   * Rejects with `KV_CAPACITY_EXCEEDED` what no worker could take if all were empty: behind others it would wait for
   * its turn to be told so, or leave with `NO_CAPACITY` and be sent again in vain.
   */
  async checkFits(demand: Demand): Promise<void> {
    if (!isTooLarge(this.placement.decide(demand, 0))) return;
    const decision = await this.#decideOnNews(demand);
    if (isTooLarge(decision)) throw unplaceable(demand, decision);
  }

  /**
   * Resolves to undefined while every worker that could take the request is full. Rejects with `NO_WORKER` or
   * `KV_CAPACITY_EXCEEDED` when waiting is of no use, and with `LEDGER_UNAVAILABLE`.
   */
  async reserve(demand: Demand): Promise<Reservation | undefined> {
    const decision = await this.#decideOnNews(demand);
    if (!isPlaceable(decision)) throw unplaceable(demand, decision);
    for (const pick of decision.picks) {
      const { worker } = pick;
      const { record } = worker;
      const key = { workerId: record.workerId, epoch: record.epoch, leaseId: randomUUID() };
      const pages = demand.pagesOn(worker);
      if (await this.#setAside(key, pages)) return this.#reservation(demand, pick, key, pages);
    }
    this.fleet.wanted();
    return undefined;
  }

  #reservation(demand: Demand, pick: Pick, key: LeaseKey, pages: number): Reservation {
    const { worker, held } = pick;
    const { record } = worker;
    const { arithmetic, precision } = record;
    demand.prefers = { arithmetic, precision };
    const tokens = ownTokens(demand, held);
    const work = this.fleet.send(record.workerId, tokens, firstTokenTokens(demand, worker, held));
    return { record, key, pages, pick, work, untrack: this.fleet.track(record.workerId, pages) };
  }

  /** Whether a worker that has not failed the request could take it, if not at this moment. */
  hasOthers(demand: Demand): boolean {
    return isPlaceable(this.placement.decide(demand, 0));
  }

  /** Never rejects: a lease that cannot be given back now runs out, or is swept with its worker. */
  async release({ key, work, untrack }: Reservation): Promise<void> {
    work.ended();
    untrack();
    await this.#giveBack(key);
    this.fleet.changed();
  }

  /** A worker that has come back stands in the registry before the next refresh shows it: who is refused asks first. */
  async #decideOnNews(demand: Demand): Promise<Decision> {
    const decision = this.placement.decide(demand, MOST_RESERVATIONS);
    if (isPlaceable(decision)) return decision;
    await this.fleet.lookAgain();
    return this.placement.decide(demand, MOST_RESERVATIONS);
  }

  async #setAside(key: LeaseKey, pages: number): Promise<boolean> {
    try {
      await this.ports.ledger.reserve(key, pages);
      return true;
    } catch (error) {
      // The snapshot may be older than the ledger: the next refresh shows the worker's new epoch or its absence.
      if (error instanceof KvcError && CERTAIN_REFUSALS.includes(error.code)) return false;
      // It may have been written although no answer came back.
      void this.#giveBack(key);
      throw error;
    }
  }

  async #giveBack(key: LeaseKey): Promise<void> {
    try {
      await this.ports.ledger.release(key);
    } catch {
      // Redis is away; readiness shows it.
    }
  }
}

function isPlaceable({ candidates, rejected }: Decision): boolean {
  return candidates.length > 0 || [...rejected.keys()].some(({ passes }) => passes);
}

function isTooLarge(decision: Decision): boolean {
  return !isPlaceable(decision) && rejectedBy('capacity', decision.rejected).length > 0;
}
