import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { decodeImage, DEFAULT_IMAGE_POLICY } from '@kvcapsule/multimodal';
import { sceneOfSeries } from '@kvcapsule/testing';

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
const SCENES = /^scenes:(\d+)$/;

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

async function* scenePictures(seed: number, count: number): AsyncGenerator<CalibrationPicture> {
  for (let index = 0; index < count; index++) {
    const { png, questions } = await sceneOfSeries(seed, index, { questions: 1 });
    const picture = await decodePicture(`scene ${index} of seed ${seed}`, png);
    yield { ...picture, question: questions[0]?.ask ?? '' };
  }
}

/**
 * At most `count` pictures of a folder, in order of names, or `count` generated ones (`scenes:SEED`).
 *
 * @throws KvcError CONFIG_INVALID for a folder without pictures, IMAGE_INVALID or IMAGE_UNSUPPORTED naming a file
 */
export function calibrationPictures(source: string, count: number): AsyncGenerator<CalibrationPicture> {
  const seed = SCENES.exec(source)?.[1];
  return seed === undefined ? folderPictures(source, count) : scenePictures(Number(seed), count);
}
