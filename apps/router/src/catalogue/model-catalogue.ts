import { KvcError } from '@kvcapsule/contracts/errors';
import type { PromptPreparer } from '../prepare/prompt-preparer.port.js';

/** A model as clients and workers know it. */
export interface ServedModel {
  /** Id that clients send as `model`. */
  readonly name: string;
  /** Id that its workers register with: the folder's name. */
  readonly workerModelId: string;
  readonly preparer: PromptPreparer;
}

/** Every model that this router serves, by the name that clients use. */
export class ModelCatalogue {
  readonly #models: ReadonlyMap<string, ServedModel>;

  constructor(models: readonly ServedModel[]) {
    this.#models = new Map(models.map((model) => [model.name, model]));
  }

  /** In the order they were configured in. */
  get all(): readonly ServedModel[] {
    return [...this.#models.values()];
  }

  /** Throws `MODEL_NOT_FOUND`. */
  resolve(name: string): ServedModel {
    const model = this.#models.get(name);
    if (model) return model;
    throw new KvcError('MODEL_NOT_FOUND', 'This server does not serve that model.', { param: 'model' });
  }

  /** Called once, when nothing is prepared any longer. */
  async close(): Promise<void> {
    await Promise.all(this.all.map(({ preparer }) => preparer.close()));
  }
}
