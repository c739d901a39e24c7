import { readFileSync } from 'node:fs';
import sharp from 'sharp';
import { iconSvg, KNOWN_ARTWORK, type ArtworkSet } from './artwork.js';
import { drawBackground } from './background.js';
import { askQuestions, CELLS, type SceneObject, type SceneQuestion } from './questions.js';
import { mixSeed, SeededRandom } from './random.js';

/** How much of the grid of 4 x 4 cells there is, from the top left. */
export interface SceneCrop {
  readonly rows: number;
  readonly cols: number;
}

export interface Scene {
  /** 256 x 256 pixels, or 64 for each cell of a crop, 8-bit RGB; the same bytes for the same seed and options. */
  readonly png: Buffer;
  /** In reading order. */
  readonly objects: readonly SceneObject[];
  readonly questions: readonly SceneQuestion[];
}

export interface SceneOptions {
  /** Sets the objects are drawn from; each object takes any of them. Default: all known ones. */
  readonly artwork?: readonly ArtworkSet[];
  /** Default 6, as in the model card's reference. */
  readonly questions?: number;
  /** Objects stand, and are asked for, inside it. */
  readonly crop?: SceneCrop;
}

const SIZE_PX = 256;
const SIDE_CELLS = 4;
const CELL_PX = 64;
const ICON_PX = [44, 64] as const;
const OBJECTS = [1, 8] as const;
const BRIGHTNESS = [0.8, 1.2] as const;
const OFFSET = [-15, 15] as const;

interface SceneFile {
  readonly classes: readonly string[];
}

const SCENES_URL = new URL('../../../../deploy/models/emoji-vlm/scenes.json', import.meta.url);
let sceneFile: SceneFile | undefined;

/** Names of everything that can be drawn and asked for. */
export function sceneClasses(): readonly string[] {
  sceneFile ??= JSON.parse(readFileSync(SCENES_URL, 'utf8')) as SceneFile;
  return sceneFile.classes;
}

/** Crops in the order of rows, then columns, whose longest side is that of the whole. */
export const LONG_CROPS: readonly SceneCrop[] = [
  ...[1, 2, 3].map((rows) => ({ rows, cols: SIDE_CELLS })),
  ...[1, 2, 3, 4].map((cols) => ({ rows: SIDE_CELLS, cols })),
];

function cellsOf({ rows, cols }: SceneCrop): string[] {
  return CELLS.filter((_, index) => Math.floor(index / SIDE_CELLS) < rows && index % SIDE_CELLS < cols);
}

function layOut(cells: readonly string[], random: SeededRandom): SceneObject[] {
  const count = Math.min(random.integer(...OBJECTS), cells.length);
  // Fewer classes than objects, so that counts above one occur.
  const pool = random.sample(sceneClasses(), random.integer(Math.ceil(count / 2), count));
  const taken = new Set(random.sample(cells, count));
  return CELLS.filter((cell) => taken.has(cell)).map((cell) => ({ cell, name: random.pick(pool) }));
}

/** Where an object is drawn: top left corner and size, always inside its cell. */
export interface Placement {
  readonly left: number;
  readonly top: number;
  readonly sizePx: number;
}

/** Any size and any position that the cell can hold. */
export function placeInCell(cell: string, random: SeededRandom): Placement {
  const index = CELLS.indexOf(cell);
  const sizePx = random.integer(...ICON_PX);
  const left = (index % 4) * CELL_PX + random.integer(0, CELL_PX - sizePx);
  const top = Math.floor(index / 4) * CELL_PX + random.integer(0, CELL_PX - sizePx);
  return { left, top, sizePx };
}

function pickIcon(
  name: string,
  artwork: readonly ArtworkSet[],
  sizePx: number,
  random: SeededRandom,
): string {
  const found = artwork.map((set) => iconSvg(set, name, sizePx)).filter((svg) => svg !== undefined);
  if (found.length === 0) throw new Error(`no artwork for ${name} in ${artwork.join(', ')}`);
  return random.pick(found);
}

async function drawIcon(svg: string, random: SeededRandom): Promise<Buffer> {
  const mirror = random.next() < 0.5;
  const gain = random.between(...BRIGHTNESS);
  const offset = random.between(...OFFSET);
  return sharp(Buffer.from(svg))
    .ensureAlpha()
    .flop(mirror)
    .linear([gain, gain, gain, 1], [offset, offset, offset, 0])
    .png()
    .toBuffer();
}

/**
 * One picture of emoji on a 4 x 4 grid with questions and their true answers, as the demo model's
 * `scenes.json` describes them.
 *
 * @param seed any integer; scenes of different seeds are unrelated
 */
export async function generateScene(seed: number, options: SceneOptions = {}): Promise<Scene> {
  const random = new SeededRandom(mixSeed(seed, 0));
  const artwork = options.artwork ?? KNOWN_ARTWORK;
  const crop = options.crop ?? { rows: SIDE_CELLS, cols: SIDE_CELLS };
  const objects = layOut(cellsOf(crop), random);
  const background = drawBackground(SIZE_PX, random);
  const layers = [];
  for (const { cell, name } of objects) {
    const { left, top, sizePx } = placeInCell(cell, random);
    const input = await drawIcon(pickIcon(name, artwork, sizePx, random), random);
    layers.push({ input, left, top });
  }
  const whole = await sharp(background, { raw: { width: SIZE_PX, height: SIZE_PX, channels: 3 } })
    .composite(layers)
    .removeAlpha()
    .raw()
    .toBuffer();
  const png = await sharp(whole, { raw: { width: SIZE_PX, height: SIZE_PX, channels: 3 } })
    .extract({ left: 0, top: 0, width: crop.cols * CELL_PX, height: crop.rows * CELL_PX })
    .png()
    .toBuffer();
  const questions = askQuestions(objects, sceneClasses(), options.questions ?? 6, random);
  return { png, objects, questions };
}

/** Seed of scene number `index` of a numbered series: two scenes of one seed are the same picture. */
export function sceneSeed(seed: number, index: number): number {
  return mixSeed(seed, index + 1);
}

/** Scene number `index` of a numbered series: eval and calibration use series of different seeds. */
export async function sceneOfSeries(seed: number, index: number, options: SceneOptions = {}): Promise<Scene> {
  return generateScene(sceneSeed(seed, index), options);
}
