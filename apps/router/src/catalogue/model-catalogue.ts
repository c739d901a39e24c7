import { KvcError } from '@kvcapsule/contracts/errors';
import type { PromptPreparer } from '../prepare/prompt-preparer.port.js';

/** A revision of a model, as one request uses it. */
export interface ServedModel {
  /** Id of the model in answers. */
  readonly name: string;
  /** Id that its workers register with: the folder's name. */
  readonly workerModelId: string;
  readonly preparer: PromptPreparer;
}

/** A model as clients know it. */
export interface CatalogueEntry {
  readonly name: string;
  /** Other ids that clients may send as `model`. */
  readonly aliases: readonly string[];
  /** Taken by requests that name no model. */
  readonly isDefault: boolean;
  /** The newest first; in the midst of an upgrade there are two. */
  readonly revisions: readonly [ServedModel, ...ServedModel[]];
}

/** Every model that this router serves, by the names that clients use. */
export class ModelCatalogue {
  readonly #byName: ReadonlyMap<string, CatalogueEntry>;
  readonly #byWorkerModelId: ReadonlyMap<string, CatalogueEntry>;

  /** @param all in the order they were configured in; names and aliases stand once each */
  constructor(readonly all: readonly CatalogueEntry[]) {
    this.#byName = new Map(
      all.flatMap((entry) => [entry.name, ...entry.aliases].map((name) => [name, entry] as const)),
    );
    this.#byWorkerModelId = new Map(
      all.flatMap((entry) => entry.revisions.map(({ workerModelId }) => [workerModelId, entry] as const)),
    );
  }

  /** The model of this name or alias, or the default where none is named. */
  find(name: string | null | undefined): CatalogueEntry | undefined {
    return name == null ? this.all.find(({ isDefault }) => isDefault) : this.#byName.get(name);
  }

  /** Throws `MODEL_NOT_FOUND`, or `INVALID_REQUEST` where none is named and none is the default. */
  resolve(name: string | null | undefined): CatalogueEntry {
    const entry = this.find(name);
    if (entry) return entry;
    if (name == null)
      throw new KvcError('INVALID_REQUEST', 'No model is named, and none is the default.', {
        param: 'model',
      });
    throw new KvcError('MODEL_NOT_FOUND', 'This server does not serve that model.', { param: 'model' });
  }

  /** What clients call the model that workers register with this id; undefined for one that is not served here. */
  servedName(workerModelId: string): string | undefined {
    return this.#byWorkerModelId.get(workerModelId)?.name;
  }

  /** Called once, when nothing is prepared any longer. */
  async close(): Promise<void> {
    const revisions = this.all.flatMap(({ revisions }) => revisions);
    await Promise.all(revisions.map(({ preparer }) => preparer.close()));
  }
}
