import {
  canPlace,
  type Decision,
  isLeftToNobody,
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

/** A decision, and whether it was made regardless of breakers. */
export interface GuardedDecision extends Decision {
  readonly ignoresBreakers: boolean;
}

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

  /** At most `count` workers; with 0 only who could take the request and why others could not. */
  decide(demand: Demand, count: number): GuardedDecision {
    const guarded = this.#decide(demand, this.fleet.views(), count);
    if (!isLeftToNobody(guarded)) return { ...guarded, ignoresBreakers: false };
    const decision = this.#decide(ignoringBreakers(demand), this.fleet.views(), count);
    return { ...decision, ignoresBreakers: true };
  }

  /** The same among those workers alone, where it was decided over all whether breakers are ignored. */
  decideAmong(
    demand: Demand,
    count: number,
    { ignoresBreakers }: GuardedDecision,
    among: (worker: WorkerView) => boolean,
  ): Decision {
    const workers = this.fleet.views().filter(among);
    return this.#decide(ignoresBreakers ? ignoringBreakers(demand) : demand, workers, count);
  }

  /** Every score; takes longer. */
  scoreAll(demand: Demand): ReturnType<typeof scoreAll> {
    const { ignoresBreakers } = this.decide(demand, 0);
    const asked = ignoresBreakers ? ignoringBreakers(demand) : demand;
    return scoreAll(asked, this.fleet.views(), this.#policy);
  }

  #decide(demand: Demand, workers: readonly WorkerView[], count: number): Decision {
    return place(demand, workers, this.#policy, count, Math.random);
  }
}

function ignoringBreakers(demand: Demand): Demand {
  return { ...demand, ignoresBreakers: true };
}
