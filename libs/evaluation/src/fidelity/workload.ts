import { KvcError } from '@kvcapsule/contracts';
import type { Engine, ProfileDescription } from '@kvcapsule/engine';
import {
  KNOWN_ARTWORK,
  sceneOfSeries,
  sceneSeed,
  UNSEEN_ARTWORK,
  type ArtworkSet,
  type SceneCrop,
  type SceneQuestion,
} from '@kvcapsule/testing';
import { decodePicture, type RgbPicture, scenesSeed } from '../prompts/pictures.js';

/** `known`: all sets the demo model was trained on; `unseen`: the ones it was not; or one set by name. */
export const ARTWORK: Readonly<Record<string, readonly ArtworkSet[]>> = {
  known: KNOWN_ARTWORK,
  unseen: UNSEEN_ARTWORK,
  ...Object.fromEntries([...KNOWN_ARTWORK, ...UNSEEN_ARTWORK].map((set) => [set, [set]])),
};

export interface Series {
  readonly seed: number;
  readonly artwork: string;
  /** Part of each scene; all of it when absent. */
  readonly crop?: SceneCrop;
}

/** As the engine takes it, and as it goes over a wire. */
export interface ScenePicture extends RgbPicture {
  readonly png: Buffer;
}

export interface AskedScene {
  readonly index: number;
  readonly picture: ScenePicture;
  readonly questions: readonly SceneQuestion[];
}

/** Scene number `index` with that many different questions. */
export async function loadScene(
  { seed, artwork, crop }: Series,
  index: number,
  questions: number,
): Promise<AskedScene> {
  const sets = ARTWORK[artwork] ?? KNOWN_ARTWORK;
  const scene = await sceneOfSeries(seed, index, { artwork: sets, questions, ...(crop && { crop }) });
  const picture = await decodePicture(`scene ${index}`, scene.png);
  return { index, picture: { ...picture, png: scene.png }, questions: scene.questions };
}

/** A picture in an engine, until released. */
export interface EncodedPicture {
  readonly handle: number;
  readonly width: number;
  readonly height: number;
}

export async function encodePicture(engine: Engine, picture: RgbPicture): Promise<EncodedPicture> {
  const { rgb, width, height } = picture;
  const { handle } = await engine.encodeImage(rgb, width, height);
  return { handle, width, height };
}

/**
 * The picture scaled down to `pixels` on its longest edge, each pixel the mean of those it stands for.
 *
 * @throws KvcError CONFIG_INVALID when the edges are no multiples
 */
export function withoutDetail(picture: RgbPicture, pixels: number): RgbPicture {
  const factor = Math.max(picture.width, picture.height) / pixels;
  const [width, height] = [picture.width / factor, picture.height / factor];
  if (![factor, width, height].every(Number.isInteger)) {
    throw new KvcError('CONFIG_INVALID', `detail: ${pixels} does not divide a picture's edges`);
  }
  const rgb = new Uint8Array(width * height * 3);
  for (let at = 0; at < rgb.length; at++) {
    const [x, y] = [Math.floor(at / 3) % width, Math.floor(at / (3 * width))];
    let sum = 0;
    for (let inner = 0; inner < factor * factor; inner++) {
      const [column, row] = [x * factor + (inner % factor), y * factor + Math.floor(inner / factor)];
      sum += picture.rgb[(row * picture.width + column) * 3 + (at % 3)] ?? 0;
    }
    rgb[at] = Math.round(sum / (factor * factor));
  }
  return { name: picture.name, rgb, width, height };
}

/**
 * Refuses profiles that were fitted on pictures of the evaluation: of one series, or by chance of one scene's
 * seed.
 *
 * @param scenes numbers of the series' scenes that are drawn
 * @throws KvcError CONFIG_INVALID naming the profile
 */
export function checkSplit(
  { seed }: Series,
  scenes: readonly number[],
  profiles: readonly Pick<ProfileDescription, 'path' | 'source' | 'pictures'>[],
): void {
  const measured = new Set(scenes.map((index) => sceneSeed(seed, index)));
  for (const { path, source, pictures = 0 } of profiles) {
    const fitSeed = scenesSeed(source ?? '');
    if (fitSeed === undefined) continue;
    const fitted = Array.from({ length: pictures }, (_, index) => sceneSeed(fitSeed, index));
    if (fitSeed === seed || fitted.some((scene) => measured.has(scene))) {
      throw new KvcError(
        'CONFIG_INVALID',
        `--seed: ${seed} shares pictures with ${path}, which was fitted on scenes of seed ${fitSeed}`,
      );
    }
  }
}
