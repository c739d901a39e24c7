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

type FileContent = z.output<typeof fileSchema>;

/**
 * Folders are relative to the file's own. Throws `CONFIG_INVALID` naming the file, the places at fault and, where
 * models do not go together, their names.
 *
 * @param beside models that are named elsewhere, which those of the file must go together with
 */
export function readModels(file: string, beside: readonly ModelSettings[] = []): readonly ModelSettings[] {
  const modelsOf = ({ models }: FileContent) => models.map((entry) => modelSettings(entry, dirname(file)));
  const faultsOf = (content: FileContent) =>
    modelConflicts([...beside, ...modelsOf(content)]).map(
      ({ model, at, what }) => `models.${model - beside.length}.${at}: ${what}`,
    );
  return modelsOf(readJsonFile({ flag: '--models', file, schema: fileSchema, faultsOf }));
}

function modelSettings(entry: FileContent['models'][number], beside: string): ModelSettings {
  const { name, aliases, folders, default: isDefault } = entry;
  return { name, aliases, isDefault, folders: folders.map((dir) => folderSettings(resolve(beside, dir))) };
}

/** A folder, and the id that workers which serve it register with. */
export function folderSettings(dir: string): ModelSettings['folders'][number] {
  const modelDir = resolve(dir);
  return { modelDir, workerModelId: basename(modelDir) };
}

interface Conflict {
  /** Index of the later of two models that do not go together. */
  readonly model: number;
  /** What of it: `aliases.0`. */
  readonly at: string;
  readonly what: string;
}

/** Models are told apart by their names towards clients, and by their folders' names towards workers. */
export function modelConflicts(models: readonly ModelSettings[]): Conflict[] {
  const names = new Set<string>();
  const modelOfId = new Map<string, number>();
  const firstDefault = models.findIndex(({ isDefault }) => isDefault);
  return models.flatMap((settings, model) => {
    const { name, isDefault } = settings;
    const faults = [...folderConflicts(settings, model, modelOfId), ...nameConflicts(settings, names)];
    if (isDefault && model !== firstDefault)
      faults.push({
        at: 'default',
        what: `two models are the default, ${quoted(models[firstDefault]?.name)} and ${quoted(name)}`,
      });
    return faults.map((fault) => ({ model, ...fault }));
  });
}

type Fault = Omit<Conflict, 'model'>;

const quoted = (text = '') => JSON.stringify(text);

/** @param taken names of the models before; those of this one are added */
function nameConflicts({ name, aliases }: ModelSettings, taken: Set<string>): Fault[] {
  const named = [['name', name], ...aliases.map((alias, index) => [`aliases.${index}`, alias])] as const;
  return named.flatMap(([at = '', text = '']) => {
    if (taken.has(text)) return [{ at, what: `the name ${quoted(text)} is given twice` }];
    taken.add(text);
    return [];
  });
}

/**
 * Revisions of one model may have one folder name, since workers tell their processor, too.
 *
 * @param modelOfId whose the folder names of the models before are; those of this one are added
 */
function folderConflicts({ folders }: ModelSettings, model: number, modelOfId: Map<string, number>): Fault[] {
  const dirs = new Set<string>();
  return folders.flatMap(({ modelDir, workerModelId }, index) => {
    const at = `folders.${index}`;
    if (dirs.has(modelDir)) return [{ at, what: `the folder ${quoted(modelDir)} is given twice` }];
    dirs.add(modelDir);
    const other = modelOfId.get(workerModelId) ?? model;
    modelOfId.set(workerModelId, other);
    const what = `two models have the same folder name ${quoted(workerModelId)}, by which workers register`;
    return other === model ? [] : [{ at, what }];
  });
}
