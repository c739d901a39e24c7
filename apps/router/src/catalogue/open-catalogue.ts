import type { Telemetry } from '../operations/telemetry.service.js';
import { ModelPreparer } from '../prepare/model-preparer.adapter.js';
import type { Settings } from '../settings.js';
import { ModelCatalogue } from './model-catalogue.js';

/** Opens the folder of every model. Rejects with `MODEL_INVALID` naming the file at fault. */
export async function openCatalogue(
  { models, allowedImageHosts }: Pick<Settings, 'models' | 'allowedImageHosts'>,
  telemetry: Telemetry,
): Promise<ModelCatalogue> {
  const opened = models.map(async ({ name, workerModelId, modelDir }) => ({
    name,
    workerModelId,
    preparer: await ModelPreparer.open({ modelDir, allowedImageHosts }, telemetry),
  }));
  return new ModelCatalogue(await Promise.all(opened));
}
