import { KvcError } from '@kvcapsule/contracts/errors';
import { Injectable } from '@nestjs/common';
import type { WorkerView } from '@kvcapsule/domain/placement';
import { Fleet } from '../fleet/fleet.service.js';
import type { CatalogueEntry, ServedModel } from './model-catalogue.js';

/** The workers of each model, and what they allow together. */
@Injectable()
export class ModelFleet {
  constructor(private readonly fleet: Fleet) {}

  /** Those whose tokenizer, template and picture settings are the model's: no others are sent its prompts. */
  workers(model: ServedModel): WorkerView[] {
    return this.fleet.views().filter((worker) => isOf(model, worker));
  }

  /** How many workers are registered for it with the tokenizer, template or picture settings of none of its revisions. */
  mismatched({ revisions }: CatalogueEntry): number {
    const ids = new Set(revisions.map(({ workerModelId }) => workerModelId));
    return this.fleet
      .views()
      .filter(({ record }) => ids.has(record.modelId))
      .filter((worker) => !revisions.some((revision) => isOf(revision, worker))).length;
  }

  isReady({ revisions }: CatalogueEntry): boolean {
    return revisions.some((revision) => this.#ready(revision).length > 0);
  }

  /** The revision that a request is prepared for: the newest that has room, else that has a worker at all. */
  serving({ revisions }: CatalogueEntry): ServedModel {
    return this.choose(revisions) ?? revisions[0];
  }

  /** Of these, the newest that has room, else that has a worker; undefined where none has. */
  choose(revisions: readonly ServedModel[]): ServedModel | undefined {
    const ready = revisions.filter((revision) => this.#ready(revision).length > 0);
    return ready.find((revision) => this.#ready(revision).some(hasRoom)) ?? ready[0];
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

  /** Those that take requests: a record alone may be that of a process that hangs. */
  #ready(model: ServedModel): WorkerView[] {
    return this.workers(model).filter(
      ({ record, reach }) => record.load.state === 'ready' && reach !== 'unreachable',
    );
  }
}

function isOf({ workerModelId, preparer }: ServedModel, { record }: WorkerView): boolean {
  return record.modelId === workerModelId && record.processorRevision === preparer.processorRevision;
}

/** Nobody waits there, and what this router sent last has been begun with. */
function hasRoom({ record, freedPages, pendingRequests }: WorkerView): boolean {
  const { waiting, freePages } = record.load;
  return waiting === 0 && pendingRequests <= 1 && freePages + freedPages > 0;
}
