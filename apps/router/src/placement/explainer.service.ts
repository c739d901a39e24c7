import { KvcError } from '@kvcapsule/contracts/errors';
import type { PlacementExplanation } from '@kvcapsule/contracts/openai';
import type { HeldContent, Rejections, ScoredWorker } from '@kvcapsule/domain/placement';
import { answerTokens, checkPromptTokens } from '@kvcapsule/domain/request';
import { Injectable } from '@nestjs/common';
import { ModelFleet } from '../catalogue/model-fleet.service.js';
import type { GenerationRequest } from '../generation/generation.js';
import { giveBackMemory } from '../heap.js';
import { Owners } from '../owners/owners.service.js';
import type { PreparedPrompt } from '../prepare/prompt-preparer.port.js';
import { type Demand, demandOf } from './demand.js';
import { Placement } from './placement.service.js';
import { isPlaceable, MOST_RESERVATIONS } from './reserver.service.js';
import { unplaceable } from './unplaceable.js';

/** Says where a request would go and why, and sends it nowhere. */
@Injectable()
export class Explainer {
  constructor(
    private readonly placement: Placement,
    private readonly models: ModelFleet,
    private readonly owners: Owners,
  ) {}

  /** Rejects as a generation of that request would before it is placed. */
  async explain(request: GenerationRequest, signal: AbortSignal): Promise<PlacementExplanation> {
    const { model, kvCodec, turns } = request;
    this.models.checkCodec(model, kvCodec);
    const prompt = await model.preparer.prepare(turns, signal);
    try {
      return this.#explained(request, prompt);
    } finally {
      for (const { encoded } of prompt.pictures) giveBackMemory(encoded);
    }
  }

  #explained(request: GenerationRequest, prompt: PreparedPrompt): PlacementExplanation {
    const { model } = request;
    const context = this.models.contextTokens(model);
    checkPromptTokens(prompt.tokenIds.length, context);
    const maxTokens = answerTokens(prompt.tokenIds.length, context, request.maxTokens);
    const demand = demandOf(request, prompt, maxTokens, this.owners.promptOf(request, prompt));
    const { scored, rejected } = this.placement.scoreAll(demand);
    const weights = this.placement.scorers.map(({ scorer, weight }) => [scorer.name, weight]);
    return {
      object: 'placement.explanation',
      model: model.name,
      policy: this.placement.policy,
      weights: Object.fromEntries(weights) as Record<string, number>,
      request: asked(demand, maxTokens),
      candidates: scored.map((each) => candidate(demand, each)),
      rejected: rejectedWorkers(rejected),
      ...this.#outcome(demand),
    };
  }

  #outcome(demand: Demand): Pick<PlacementExplanation, 'picks' | 'refusal'> {
    const decision = this.placement.decide(demand, MOST_RESERVATIONS);
    const picks = decision.picks.map(({ worker: { record }, total, reason }) => ({
      worker: record.workerId,
      epoch: record.epoch,
      total: rounded(total),
      reason,
    }));
    return { picks, refusal: isPlaceable(decision) ? null : refusalOf(unplaceable(demand, decision)) };
  }
}

function refusalOf({ code, message }: KvcError): PlacementExplanation['refusal'] {
  return { code: code.toLowerCase(), message };
}

function asked(demand: Demand, maxTokens: number): PlacementExplanation['request'] {
  const { promptTokens, pictures, pictureTokens, kvCodec, session } = demand;
  return {
    prompt_tokens: promptTokens,
    pictures,
    picture_tokens: pictureTokens,
    max_tokens: maxTokens,
    kv_codec: kvCodec ?? null,
    session: session ?? null,
  };
}

function candidate(
  demand: Demand,
  { worker, held, costs, total }: ScoredWorker,
): PlacementExplanation['candidates'][number] {
  const { record } = worker;
  const pages = demand.pagesOn(worker);
  return {
    worker: record.workerId,
    epoch: record.epoch,
    codec: demand.kvCodec ?? record.codec,
    pages,
    page_bytes: record.pageBytes,
    bytes: pages * record.pageBytes,
    free_pages: record.load.freePages,
    capacity_pages: record.capacityPages,
    running: record.load.running,
    waiting: record.load.waiting,
    arithmetic: record.arithmetic,
    precision: record.precision,
    held: heldOf(held),
    costs: Object.fromEntries(Object.entries(costs).map(([name, cost]) => [name, rounded(cost)])),
    total: rounded(total),
  };
}

function heldOf(held: HeldContent | undefined) {
  if (!held) return null;
  const { prefixTokens, picturesHeld, featuresHeld, picturesComing = 0 } = held;
  return {
    prefix_tokens: prefixTokens,
    pictures: picturesHeld,
    features: featuresHeld,
    pictures_coming: picturesComing,
  };
}

function rejectedWorkers(rejected: Rejections): PlacementExplanation['rejected'] {
  return [...rejected].flatMap(([{ name, reason, passes }, workers]) =>
    workers.map(({ record }) => ({
      worker: record.workerId,
      epoch: record.epoch,
      filter: name,
      reason,
      may_pass: passes,
    })),
  );
}

/** Tokens to two digits behind the point: more say nothing. */
function rounded(tokens: number): number {
  return Math.round(tokens * 100) / 100;
}
