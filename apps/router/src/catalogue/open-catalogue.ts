import { KvcError } from '@kvcapsule/contracts/errors';
import type { Telemetry } from '../operations/telemetry.service.js';
import { ModelPreparer } from '../prepare/model-preparer.adapter.js';
import type { ModelSettings, Settings } from '../settings.js';
import { type CatalogueEntry, ModelCatalogue, type ServedModel } from './model-catalogue.js';

/** Opens the folders of every model. Rejects with `MODEL_INVALID` naming the model, the folder and the file at fault. */
export async function openCatalogue(
  { models, allowedImageHosts }: Pick<Settings, 'models' | 'allowedImageHosts'>,
  telemetry: Telemetry,
): Promise<ModelCatalogue> {
  const open = async ({ name, aliases, isDefault, folders }: ModelSettings): Promise<CatalogueEntry> => {
    const opened = folders.map(async ({ modelDir, workerModelId }): Promise<ServedModel> => {
      const preparer = await ModelPreparer.open({ modelDir, allowedImageHosts }, telemetry).catch(
        (error: unknown) => {
          throw ofModel(name, error);
        },
      );
      return { name, workerModelId, preparer };
    });
    const revisions = (await Promise.all(opened)) as [ServedModel, ...ServedModel[]];
    return { name, aliases, isDefault, revisions };
  };
  return new ModelCatalogue(await Promise.all(models.map(open)));
}

function ofModel(name: string, error: unknown): unknown {
  if (!(error instanceof KvcError) || error.code !== 'MODEL_INVALID') return error;
  return new KvcError('MODEL_INVALID', `model ${JSON.stringify(name)}: ${error.message}`, { cause: error });
}
