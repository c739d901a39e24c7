import type { Telemetry } from '../operations/telemetry.service.js';
import { ModelPreparer } from '../prepare/model-preparer.adapter.js';
import type { ModelSettings, Settings } from '../settings.js';
import { type CatalogueEntry, ModelCatalogue, type ServedModel } from './model-catalogue.js';

/** Opens the folders of every model. Rejects with `MODEL_INVALID` naming the file at fault. */
export async function openCatalogue(
  { models, allowedImageHosts }: Pick<Settings, 'models' | 'allowedImageHosts'>,
  telemetry: Telemetry,
): Promise<ModelCatalogue> {
  const open = async ({ name, aliases, isDefault, folders }: ModelSettings): Promise<CatalogueEntry> => {
    const [newest, ...older] = folders.map(async ({ modelDir, workerModelId }): Promise<ServedModel> => {
      const preparer = await ModelPreparer.open({ modelDir, allowedImageHosts }, telemetry);
      return { name, workerModelId, preparer };
    }) as [Promise<ServedModel>, ...Promise<ServedModel>[]];
    return { name, aliases, isDefault, revisions: [await newest, ...(await Promise.all(older))] };
  };
  return new ModelCatalogue(await Promise.all(models.map(open)));
}
