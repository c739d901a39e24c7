import { basename, dirname, resolve } from 'node:path';
import { z } from 'zod';
import { readJsonFile } from './json-file.js';
import type { ModelSettings } from './settings.js';

const MOST_MODELS = 100;
const MOST_FOLDERS = 8;
const MOST_ALIASES = 100;

const name = z.string().min(1).max(256);
const folder = z.string().min(1).max(4_096);

const fileSchema = z.strictObject({
  models: z
    .array(
      z.strictObject({
        name,
        folders: z.array(folder).min(1).max(MOST_FOLDERS),
        aliases: z.array(name).max(MOST_ALIASES).default([]),
        default: z.boolean().default(false),
      }),
    )
    .min(1)
    .max(MOST_MODELS),
});

/** Folders are relative to the file's own. Throws `CONFIG_INVALID` naming the file and the places at fault. */
export function readModels(file: string): readonly ModelSettings[] {
  const { models } = readJsonFile({ flag: '--models', file, schema: fileSchema, faultsOf: () => [] });
  return models.map(({ name, aliases, folders, default: isDefault }) => ({
    ...{ name, aliases, isDefault },
    folders: folders.map((dir) => folderSettings(resolve(dirname(file), dir))),
  }));
}

/** A folder, and the id that workers which serve it register with. */
export function folderSettings(dir: string): ModelSettings['folders'][number] {
  const modelDir = resolve(dir);
  return { modelDir, workerModelId: basename(modelDir) };
}

/**
 * Models are told apart by their names towards clients, and by their folders' names towards workers; revisions of one
 * model may have one folder name, since workers tell their processor, too. Undefined where nothing is wrong.
 */
export function modelsFault(models: readonly ModelSettings[]): string | undefined {
  const ids = models.flatMap(({ folders }) => [
    ...new Set(folders.map(({ workerModelId }) => workerModelId)),
  ]);
  if (new Set(ids).size < ids.length)
    return 'two models have the same folder name, by which workers register';
  const names = models.flatMap(({ name, aliases }) => [name, ...aliases]);
  if (new Set(names).size < names.length) return 'a name is given twice';
  if (models.filter(({ isDefault }) => isDefault).length > 1) return 'two models are the default';
  return undefined;
}
