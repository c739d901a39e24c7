import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { sceneOfSeries } from '@kvcapsule/testing';
import sharp from 'sharp';

/** Upright 8-bit RGB, `[height][width][3]`. */
export interface RgbPicture {
  readonly name: string;
  readonly rgb: Uint8Array;
  readonly width: number;
  readonly height: number;
}

const PICTURE_FILE = /\.(png|jpe?g|webp|gif)$/i;
const SCENES = /^scenes:(\d+)$/;

/** Decodes as the server does: turned upright, laid on white, eight bits a channel. */
export async function decodePicture(name: string, file: Buffer): Promise<RgbPicture> {
  try {
    const { data, info } = await sharp(file)
      .autoOrient()
      .flatten({ background: 'white' })
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`${info.channels} channels after decoding`);
    return { name, rgb: data, width: info.width, height: info.height };
  } catch (cause) {
    throw new KvcError('IMAGE_INVALID', `${name} cannot be decoded: ${(cause as Error).message}`, { cause });
  }
}

async function* folderPictures(folder: string, count: number): AsyncGenerator<RgbPicture> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new KvcError('CONFIG_INVALID', `--images: the folder ${folder} cannot be read`, { cause });
  });
  const files = names.filter((name) => PICTURE_FILE.test(name)).sort();
  if (files.length === 0) {
    throw new KvcError('CONFIG_INVALID', `--images: ${folder} holds no PNG, JPEG, WebP or GIF files`);
  }
  for (const name of files.slice(0, count)) {
    yield await decodePicture(name, await readFile(join(folder, name)));
  }
}

async function* scenePictures(seed: number, count: number): AsyncGenerator<RgbPicture> {
  for (let index = 0; index < count; index++) {
    const { png } = await sceneOfSeries(seed, index, { questions: 0 });
    yield await decodePicture(`scene ${index} of seed ${seed}`, png);
  }
}

/**
 * At most `count` pictures of a folder, in order of names, or `count` generated ones (`scenes:SEED`).
 *
 * @throws KvcError CONFIG_INVALID for a folder without pictures, IMAGE_INVALID naming a damaged file
 */
export function calibrationPictures(source: string, count: number): AsyncGenerator<RgbPicture> {
  const seed = SCENES.exec(source)?.[1];
  return seed === undefined ? folderPictures(source, count) : scenePictures(Number(seed), count);
}
