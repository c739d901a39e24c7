import { basename, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { KvcError } from '@kvcapsule/contracts/errors';
import { modelRevision } from '@kvcapsule/engine';
import { type ModelFolder, openModelFolder } from '@kvcapsule/model';

import { type EngineModel, readEngineModel } from './engine-model.js';

/** The demo model's engine. */
export const DEMO_ENGINE = fileURLToPath(new URL('../../engines/emoji-vlm.json', import.meta.url));

/** A model whose text side is real and whose engine is not. */
export interface SimulatedModel {
  /** As workers of the same folder call it. */
  readonly id: string;
  readonly revision: string;
  readonly folder: ModelFolder;
  readonly engine: EngineModel;
  /** Tokens that answers are made of. */
  readonly ordinaryTokens: readonly number[];
}

/** Numbers that a folder and the engine of another model would differ in. */
const SHARED = ['contextTokens', 'imageTokenId', 'tokensPerTile'] as const;

/**
 * @param dir the model's folder; its weights are only read for the model's name
 * @param engineFile of the same model
 * @throws KvcError MODEL_INVALID or CONFIG_INVALID, naming what is wrong
 */
export async function openSimulatedModel(dir: string, engineFile = DEMO_ENGINE): Promise<SimulatedModel> {
  const engine = await readEngineModel(engineFile);
  const folder = await openModelFolder(dir);
  const { info } = engine;
  if (info.vocab !== folder.vocabSize || SHARED.some((name) => info[name] !== folder[name])) {
    await folder.dispose();
    throw new KvcError('CONFIG_INVALID', `${engineFile} is the engine of another model than ${dir}`);
  }
  return {
    id: basename(resolve(dir)),
    revision: await modelRevision(dir),
    ...{ folder, engine, ordinaryTokens: textTokens(folder) },
  };
}

/** Tokens that stand for text and end nothing. */
export function textTokens({ vocabSize, tokenBytes, eosTokenIds }: ModelFolder): number[] {
  return Array.from({ length: vocabSize }, (_, token) => token).filter(
    (token) =>
      tokenBytes.of(token).length > 0 && !tokenBytes.isSpecial(token) && !eosTokenIds.includes(token),
  );
}
