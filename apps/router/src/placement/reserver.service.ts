import { randomUUID } from 'node:crypto';
import { type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import type { LeaseKey } from '@kvcapsule/domain/ledger';
import {
  type Decision,
  pagesByClass,
  place,
  type PlacementRequest,
  PLUGINS,
} from '@kvcapsule/domain/placement';
import type { WorkerRecord } from '@kvcapsule/domain/registry';
import { keptPicture, keptText, pageDemand } from '@kvcapsule/domain/scheduling';
import { Injectable } from '@nestjs/common';
import type { ServedModel } from '../catalogue/model-catalogue.js';
import { Fleet } from '../fleet/fleet.service.js';
import type { GenerationRequest } from '../generation/generation.js';
import type { PreparedPrompt } from '../prepare/prompt-preparer.port.js';
import { Ports } from '../ports.js';
import { unplaceable } from './unplaceable.js';

/**
 * The most reservations of one attempt. Each is a round trip to Redis, and only workers whose last heartbeat shows
 * room are asked: when three of them in turn are full, so is about everything, and the next heartbeats tell more.
 */
const MOST_RESERVATIONS = 3;

/** Answers of the ledger after which nothing was set aside. */
const CERTAIN_REFUSALS: readonly ErrorCode[] = ['NO_CAPACITY', 'STALE_EPOCH', 'NO_WORKER'];

/** What a request asks of a worker, over all its attempts. */
export interface Demand extends PlacementRequest {
  /** Workers that failed the request; grows. */
  readonly failed: Set<string>;
}

/** Pages set aside for a request on one worker, until they are released. */
export interface Reservation {
  readonly record: WorkerRecord;
  readonly key: LeaseKey;
  readonly pages: number;
  readonly untrack: () => void;
}

/** Finds a worker for a request and sets its pages aside in the ledger. */
@Injectable()
export class Reserver {
  constructor(
    private readonly ports: Ports,
    private readonly fleet: Fleet,
  ) {}

  /** `maxTokens` is what the answer may have at most. */
  demand(
    { workerModelId, preparer }: ServedModel,
    { kvCodec, maxTokens }: Pick<GenerationRequest, 'kvCodec'> & { readonly maxTokens: number },
    prompt: PreparedPrompt,
  ): Demand {
    const pagesOn = pagesByClass(({ record }) => {
      const codec = kvCodec ?? record.codec;
      const pictures = prompt.pictures.map((span) => keptPicture(record, codec, span, false));
      const text = keptText(record, codec);
      const promptTokens = prompt.tokenIds.length;
      return pageDemand({ promptTokens, maxTokens, pictures, ...(text && { text }) }, record);
    });
    const { processorRevision } = preparer;
    return { modelId: workerModelId, processorRevision, kvCodec, failed: new Set(), pagesOn };
  }

  /**
   * Rejects with `KV_CAPACITY_EXCEEDED` what no worker could take if all were empty: behind others it would wait for
   * its turn to be told so, or leave with `NO_CAPACITY` and be sent again in vain.
   */
  async checkFits(demand: Demand): Promise<void> {
    if (!isTooLarge(this.#decide(demand, 0))) return;
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
    for (const { worker } of decision.picks) {
      const { record } = worker;
      const key = { workerId: record.workerId, epoch: record.epoch, leaseId: randomUUID() };
      const pages = demand.pagesOn(worker);
      if (await this.#setAside(key, pages)) {
        return { record, key, pages, untrack: this.fleet.track(record.workerId, pages) };
      }
    }
    this.fleet.wanted();
    return undefined;
  }

  /** Whether a worker that has not failed the request could take it, if not at this moment. */
  hasOthers(demand: Demand): boolean {
    return isPlaceable(this.#decide(demand, 0));
  }

  /** Never rejects: a lease that cannot be given back now runs out, or is swept with its worker. */
  async release({ key, untrack }: Reservation): Promise<void> {
    untrack();
    await this.#giveBack(key);
    this.fleet.changed();
  }

  /** A worker that has come back stands in the registry before the next refresh shows it: who is refused asks first. */
  async #decideOnNews(demand: Demand): Promise<Decision> {
    const decision = this.#decide(demand, MOST_RESERVATIONS);
    if (isPlaceable(decision)) return decision;
    await this.fleet.lookAgain();
    return this.#decide(demand, MOST_RESERVATIONS);
  }

  #decide(demand: Demand, count: number): Decision {
    return place(demand, this.fleet.views(), PLUGINS, count, Math.random);
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

function isPlaceable({ scored, rejected }: Decision): boolean {
  return scored.length > 0 || rejected.some(({ filter }) => filter.passes);
}

function isTooLarge(decision: Decision): boolean {
  return !isPlaceable(decision) && decision.rejected.some(({ filter }) => filter.name === 'capacity');
}
