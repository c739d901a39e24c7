import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { folderSettings } from '../models-file.js';
import { Telemetry } from '../operations/telemetry.service.js';
import { openCatalogue } from './open-catalogue.js';

it('names the model and the folder that holds none, once', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'kvcapsule-catalogue-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const folders = ['a', 'b'].map((revision) => folderSettings(join(folder, revision)));
  const models = [{ name: 'small', aliases: [], isDefault: false, folders }];
  await expect(openCatalogue({ models, allowedImageHosts: [] }, new Telemetry())).rejects.toMatchObject({
    code: 'MODEL_INVALID',
    message: expect.stringMatching(
      /^model "small": \/.*kvcapsule-catalogue-\w+\/[ab]: config\.json: missing/,
    ) as string,
  });
});
