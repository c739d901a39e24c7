import { KvcError } from '@kvcapsule/contracts/errors';
import { Injectable } from '@nestjs/common';
import type { WorkerView } from '@kvcapsule/domain/placement';
import { Fleet } from '../fleet/fleet.service.js';
import type { ServedModel } from './model-catalogue.js';

/** The workers of each model, and what they allow together. */
@Injectable()
export class ModelFleet {
  constructor(private readonly fleet: Fleet) {}

  /** Those whose tokenizer, template and picture settings are the model's: no others are sent its prompts. */
  workers(model: ServedModel): WorkerView[] {
    return this.#registered(model).filter((worker) => hasProcessorOf(model, worker));
  }

  /** How many workers are registered for it with another tokenizer, template or picture settings. */
  mismatched(model: ServedModel): number {
    return this.#registered(model).filter((worker) => !hasProcessorOf(model, worker)).length;
  }

  /** Whether some worker takes requests for it: a record alone may be that of a process that hangs. */
  isReady(model: ServedModel): boolean {
    return this.workers(model).some(
      ({ record, reach }) => record.load.state === 'ready' && reach !== 'unreachable',
    );
  }

  /** Prompt and answer together, in tokens: what the model allows and each of its workers can hold. */
  contextTokens(model: ServedModel): number {
    const contexts = this.workers(model).map(({ record }) => record.contextTokens);
    return Math.min(model.preparer.contextTokens, ...contexts);
  }

  /** Every codec that some worker serves, in order of their names; none while there is no worker. */
  kvCodecs(model: ServedModel): string[] {
    return [...new Set(this.workers(model).flatMap(({ record }) => record.codecs))].sort();
  }

  /**
   * A codec that no worker serves is the request's fault: throws `KV_CODEC_UNAVAILABLE`. While there is no worker at
   * all, nobody can say.
   */
  checkCodec(model: ServedModel, kvCodec: string | undefined): void {
    if (kvCodec === undefined) return;
    const known = this.kvCodecs(model);
    if (known.length === 0 || known.includes(kvCodec)) return;
    const message = `No worker serves that codec; kv_codec may be ${known.join(', ')}.`;
    throw new KvcError('KV_CODEC_UNAVAILABLE', message, { param: 'kv_codec' });
  }

  /** Types of weights and of raw rows that its workers compute with, as `q8_0/f16`, in order; none without a worker. */
  precisions(model: ServedModel): string[] {
    return [...new Set(this.workers(model).map(({ record }) => record.precision))].sort();
  }

  #registered({ workerModelId }: ServedModel): WorkerView[] {
    return this.fleet.views().filter(({ record }) => record.modelId === workerModelId);
  }
}

function hasProcessorOf({ preparer }: ServedModel, { record }: WorkerView): boolean {
  return record.processorRevision === preparer.processorRevision;
}
