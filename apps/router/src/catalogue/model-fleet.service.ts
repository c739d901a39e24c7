import { KvcError } from '@kvcapsule/contracts/errors';
import { Injectable } from '@nestjs/common';
import type { WorkerView } from '@kvcapsule/domain/placement';
import { Fleet } from '../fleet/fleet.service.js';
import type { CatalogueEntry, ServedModel } from './model-catalogue.js';

/** What follows from the registered workers of a model's revision, loads aside. */
interface Roster {
  readonly workers: readonly WorkerView[];
  /** The smallest of theirs; infinite without workers. */
  readonly contextTokens: number;
  /** Every codec that some worker serves, in order of their names. */
  readonly codecs: readonly string[];
}

/** The workers of each model, and what they allow together. */
@Injectable()
export class ModelFleet {
  /** The fleet's list that the rosters are made of; with another list they are void. */
  #views: readonly WorkerView[] = [];
  readonly #rosters = new Map<ServedModel, Roster>();

  constructor(private readonly fleet: Fleet) {}

  /** Those whose tokenizer, template and picture settings are the model's: no others are sent its prompts. */
  workers(model: ServedModel): readonly WorkerView[] {
    return this.#roster(model).workers;
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
    return revisions.some((revision) => this.workers(revision).some(isReady));
  }

  /** How many workers take requests for it. */
  ready({ revisions }: CatalogueEntry): number {
    return revisions.reduce((sum, revision) => sum + this.workers(revision).filter(isReady).length, 0);
  }

  /** The revision that a request is prepared for: the newest that has room, else that has a worker at all. */
  serving({ revisions }: CatalogueEntry): ServedModel {
    return this.choose(revisions) ?? revisions[0];
  }

  /** Of these, the newest that has room, else that has a worker; undefined where none has. */
  choose(revisions: readonly ServedModel[]): ServedModel | undefined {
    const withWorker = (takes: (worker: WorkerView) => boolean) =>
      revisions.find((revision) => this.workers(revision).some(takes));
    return withWorker((worker) => isReady(worker) && hasRoom(worker)) ?? withWorker(isReady);
  }

  /** Prompt and answer together, in tokens: what the model allows and each of its workers can hold. */
  contextTokens(model: ServedModel): number {
    return Math.min(model.preparer.contextTokens, this.#roster(model).contextTokens);
  }

  /** Every codec that some worker serves, in order of their names; none while there is no worker. */
  kvCodecs(model: ServedModel): readonly string[] {
    return this.#roster(model).codecs;
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

  #roster(model: ServedModel): Roster {
    const views = this.fleet.views();
    if (views !== this.#views) {
      this.#views = views;
      this.#rosters.clear();
    }
    let roster = this.#rosters.get(model);
    if (!roster) this.#rosters.set(model, (roster = rosterOf(views.filter((worker) => isOf(model, worker)))));
    return roster;
  }
}

function rosterOf(workers: readonly WorkerView[]): Roster {
  return {
    workers,
    contextTokens: workers.reduce((least, { record }) => Math.min(least, record.contextTokens), Infinity),
    codecs: [...new Set(workers.flatMap(({ record }) => record.codecs))].sort(),
  };
}

/** Takes requests: a record alone may be that of a process that hangs. */
function isReady({ record, reach }: WorkerView): boolean {
  return record.load.state === 'ready' && reach !== 'unreachable';
}

function isOf({ workerModelId, preparer }: ServedModel, { record }: WorkerView): boolean {
  return record.modelId === workerModelId && record.processorRevision === preparer.processorRevision;
}

/** Nobody waits there, and what this router sent last has been begun with. */
function hasRoom({ record, freedPages, pendingRequests }: WorkerView): boolean {
  const { waiting, freePages } = record.load;
  return waiting === 0 && pendingRequests <= 1 && freePages + freedPages > 0;
}
