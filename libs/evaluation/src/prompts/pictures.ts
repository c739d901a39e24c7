import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { decodeImage, DEFAULT_IMAGE_POLICY } from '@kvcapsule/multimodal';
import { LONG_CROPS, sceneOfSeries, type SceneCrop } from '@kvcapsule/testing';

/** Upright 8-bit RGB, `[height][width][3]`. */
export interface RgbPicture {
  readonly name: string;
  readonly rgb: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** A picture with something to ask about it. */
export interface CalibrationPicture extends RgbPicture {
  readonly question: string;
}

/** For pictures that come without any. */
const QUESTIONS = [
  'What is shown in this picture?',
  'Describe the picture.',
  'Which colors are there?',
  'How many things are there?',
  'What is in the middle?',
];

const PICTURE_FILE = /\.(png|jpe?g|webp|gif)$/i;
const SCENES = /^scenes:(\d+)(?:\/(\w+))?$/;
const CROP = /^([1-4])x([1-4])$/;

/**
 * Part of a scene: `2x4` is two rows of four cells.
 *
 * @throws KvcError CONFIG_INVALID naming the flag
 */
export function cropOf(flag: string, text: string): SceneCrop {
  const [rows, cols] = (CROP.exec(text) ?? []).slice(1).map(Number);
  if (rows !== undefined && cols !== undefined) return { rows, cols };
  throw new KvcError('CONFIG_INVALID', `${flag}: ${text} is no part of 4 x 4 cells, as 2x4`);
}

/** The seed of a series of scenes, or undefined for a folder. */
export function scenesSeed(source: string): number | undefined {
  const seed = SCENES.exec(source)?.[1];
  return seed === undefined ? undefined : Number(seed);
}

/**
 * Decodes as the server does.
 *
 * @throws KvcError naming the picture
 */
export async function decodePicture(name: string, file: Buffer): Promise<RgbPicture> {
  try {
    return {
      name,
      ...(await decodeImage(file, { param: 'images', maxPixels: DEFAULT_IMAGE_POLICY.maxPixels })),
    };
  } catch (cause) {
    if (!(cause instanceof KvcError)) throw cause;
    throw new KvcError(cause.code, `${name}: ${cause.message}`, { cause });
  }
}

async function* folderPictures(folder: string, count: number): AsyncGenerator<CalibrationPicture> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new KvcError('CONFIG_INVALID', `--images: the folder ${folder} cannot be read`, { cause });
  });
  const files = names.filter((name) => PICTURE_FILE.test(name)).sort();
  if (files.length === 0) {
    throw new KvcError('CONFIG_INVALID', `--images: ${folder} holds no PNG, JPEG, WebP or GIF files`);
  }
  for (const [index, name] of files.slice(0, count).entries()) {
    const picture = await decodePicture(name, await readFile(join(folder, name)));
    yield { ...picture, question: QUESTIONS[index % QUESTIONS.length] ?? '' };
  }
}

async function* scenePictures(
  seed: number,
  crops: readonly SceneCrop[],
  count: number,
): AsyncGenerator<CalibrationPicture> {
  for (let index = 0; index < count; index++) {
    const crop = crops[index % crops.length];
    const { png, questions } = await sceneOfSeries(seed, index, { questions: 1, ...(crop && { crop }) });
    const picture = await decodePicture(`scene ${index} of seed ${seed}`, png);
    yield { ...picture, question: questions[0]?.ask ?? '' };
  }
}

/**
 * At most `count` pictures of a folder, in order of names, or `count` generated ones: `scenes:SEED`, cut to a part of
 * their cells as `scenes:SEED/2x4`, or in turn to every part that is long enough, `scenes:SEED/mixed`.
 *
 * @throws KvcError CONFIG_INVALID for a folder without pictures, IMAGE_INVALID or IMAGE_UNSUPPORTED naming a file
 */
export function calibrationPictures(source: string, count: number): AsyncGenerator<CalibrationPicture> {
  const seed = scenesSeed(source);
  if (seed === undefined) return folderPictures(source, count);
  const crop = SCENES.exec(source)?.[2];
  if (crop === undefined) return scenePictures(seed, [], count);
  return scenePictures(seed, crop === 'mixed' ? LONG_CROPS : [cropOf('--images', crop)], count);
}
