import { KvcError } from '@kvcapsule/contracts';
import { z } from 'zod';
import {
  type FamilyConfig,
  familyOf,
  type FamilySpec,
  MODEL_TYPES,
  type PictureSpecification,
  type TextSpecification,
  type VisionSpecification,
} from '../families/index.js';
import { readIfThere, readRequired } from './files.js';

/** A checked model folder in plain values: what the engine computes with and prompts are counted with. */
export interface ModelSpecification {
  readonly family: string;
  readonly text: TextSpecification;
  readonly vision: VisionSpecification;
  readonly pictures: PictureSpecification;
  readonly imageTokenId: number;
  /** Patches along each side that pixel shuffle makes one token of. */
  readonly scaleFactor: number;
  /** The head is the token embedding. */
  readonly tiedHead: boolean;
  /** Visual tokens of one tile. */
  readonly tokensPerTile: number;
}

/** What `config.json` and the settings of the processors say. */
export interface ReadModel {
  readonly family: FamilySpec;
  readonly specification: ModelSpecification;
  /** Those of `config.json`. */
  readonly eosTokenIds: readonly number[];
}

export const CONFIG_FILE = 'config.json';
const PROCESSOR_FILE = 'processor_config.json';
const PREPROCESSOR_FILE = 'preprocessor_config.json';

const anyFamily = z.looseObject({
  model_type: z.enum(MODEL_TYPES, `only ${MODEL_TYPES.join(' and ')} are served`),
});

async function readConfig(dir: string): Promise<{ family: FamilySpec; config: FamilyConfig }> {
  const { model_type: modelType } = await readRequired(anyFamily, dir, CONFIG_FILE);
  const family = familyOf(modelType);
  if (family === undefined) throw new KvcError('INTERNAL', `no family has the model type ${modelType}`);
  return { family, config: await readRequired(family.config, dir, CONFIG_FILE) };
}

interface ReadPictures {
  readonly pictures: PictureSpecification;
  /** As the processor's settings state it, if they do. */
  readonly tokensPerTile: number | undefined;
  readonly file: string;
}

/**
 * The settings of the image processor, from the file that transformers 5 takes them from: `image_processor` of
 * `processor_config.json`, where releases from 5 on save them, then `preprocessor_config.json`, the only place of
 * releases before. The first is taken as a whole; nothing is merged.
 */
async function readPictures(dir: string, family: FamilySpec): Promise<ReadPictures> {
  const processorFile = z.object({
    image_seq_len: z.int().positive().nullish(),
    image_processor: family.pictures.nullish(),
  });
  const processor = await readIfThere(processorFile, dir, PROCESSOR_FILE);
  const tokensPerTile = processor?.image_seq_len ?? undefined;
  if (processor?.image_processor != null)
    return { pictures: processor.image_processor, tokensPerTile, file: PROCESSOR_FILE };
  const pictures = await readRequired(family.pictures, dir, PREPROCESSOR_FILE);
  return { pictures, tokensPerTile, file: PREPROCESSOR_FILE };
}

/**
 * Reads `config.json` and the settings of the processors. This is the only reader of these files: router and engine
 * work with what it gives.
 *
 * @throws KvcError MODEL_INVALID naming the file and the field at fault
 */
export async function readModel(dir: string): Promise<ReadModel> {
  const { family, config } = await readConfig(dir);
  const { pictures, tokensPerTile: stated, file } = await readPictures(dir, family);
  const tokensPerTile = family.tokensPerTile(config, pictures);
  if (tokensPerTile === undefined)
    throw new KvcError(
      'MODEL_INVALID',
      `${file}: the patches of a tile of ${pictures.tilePx} pixels are not cut evenly by patch_size and scale_factor of ${CONFIG_FILE}`,
    );
  if (stated !== undefined && stated !== tokensPerTile)
    throw new KvcError(
      'MODEL_INVALID',
      `${PROCESSOR_FILE}: image_seq_len: does not agree with ${CONFIG_FILE} and ${file}, which make ${tokensPerTile} tokens of a tile`,
    );
  const { text, vision, imageTokenId, scaleFactor, tiedHead, eosTokenIds } = config;
  return {
    family,
    specification: {
      ...{ family: family.name, text, vision, pictures },
      ...{ imageTokenId, scaleFactor, tiedHead, tokensPerTile },
    },
    eosTokenIds,
  };
}

/** @throws KvcError MODEL_INVALID naming the file and the field at fault */
export async function readSpecification(dir: string): Promise<ModelSpecification> {
  return (await readModel(dir)).specification;
}
