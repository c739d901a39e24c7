import {
  canPlace,
  type Decision,
  place,
  type Policy,
  policyOf,
  scoreAll,
  type WeightedScorer,
  type WorkerView,
} from '@kvcapsule/domain/placement';
import { Injectable } from '@nestjs/common';
import { Fleet } from '../fleet/fleet.service.js';
import { Settings } from '../settings.js';
import type { Demand } from './demand.js';

/** Decides by this router's policy over its newest snapshot of the fleet. */
@Injectable()
export class Placement {
  readonly #policy: Policy;

  constructor(
    private readonly fleet: Fleet,
    { placementPolicy, placementWeights }: Settings,
  ) {
    this.#policy = policyOf(placementPolicy, placementWeights);
  }

  get policy(): string {
    return this.#policy.name;
  }

  get scorers(): readonly WeightedScorer[] {
    return this.#policy.scorers;
  }

  /** Whether some worker can take it, at this moment or when what stands against it has passed. */
  canPlace(demand: Demand): boolean {
    return canPlace(demand, this.fleet.views(), this.#policy);
  }

  /**
   * At most `count` workers; with 0 only who could take the request and why others could not.
   * @param among whom to look at, everybody by default
   */
  decide(demand: Demand, count: number, among?: (worker: WorkerView) => boolean): Decision {
    const workers = among ? this.fleet.views().filter(among) : this.fleet.views();
    return place(demand, workers, this.#policy, count, Math.random);
  }

  /** Every score; takes longer. */
  scoreAll(demand: Demand): ReturnType<typeof scoreAll> {
    return scoreAll(demand, this.fleet.views(), this.#policy);
  }
}
