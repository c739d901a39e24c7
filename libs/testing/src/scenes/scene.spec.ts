import { readFile } from 'node:fs/promises';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { iconSvg, KNOWN_ARTWORK, PERMISSIVE_ARTWORK, UNSEEN_ARTWORK } from './artwork.js';
import { askAbout, CELLS, QUESTION_KINDS, type SceneObject } from './questions.js';
import { SeededRandom } from './random.js';
import { generateScene, placeInCell, sceneClasses, sceneOfSeries } from './scene.js';

const OBJECTS: readonly SceneObject[] = [
  { cell: 'A1', name: 'bus' },
  { cell: 'C2', name: 'pear' },
  { cell: 'D4', name: 'bus' },
];
const BUS_AND_ANT = ['bus', 'ant'];

/** All different questions of a kind that some hundred draws give. */
function allAsked(kind: (typeof QUESTION_KINDS)[number], objects = OBJECTS): Map<string, string> {
  const random = new SeededRandom(1);
  const asked = Array.from({ length: 400 }, () => askAbout(kind, objects, BUS_AND_ANT, random));
  return new Map(asked.flatMap((question) => (question ? [[question.ask, question.answer] as const] : [])));
}

describe('questions', () => {
  it('lists and describes in reading order', () => {
    expect(allAsked('list')).toEqual(new Map([['List every object.', 'bus, pear, bus.']]));
    expect(allAsked('describe')).toEqual(
      new Map([['Describe the image.', 'bus at A1, pear at C2, bus at D4.']]),
    );
  });

  it('asks for every cell', () => {
    const asked = allAsked('cell');
    expect([...asked.keys()].sort()).toEqual(CELLS.map((cell) => `What is at ${cell}?`).sort());
    expect(asked.get('What is at C2?')).toBe('pear.');
    expect(asked.get('What is at D1?')).toBe('nothing.');
  });

  it('asks where only what occurs once', () => {
    expect(allAsked('where')).toEqual(new Map([['Where is the pear?', 'C2.']]));
    expect(allAsked('where', [OBJECTS[0]!, OBJECTS[2]!]).size).toBe(0);
  });

  it('counts in words, nothing included', () => {
    const asked = allAsked('count');
    expect(asked.get('How many bus are there?')).toBe('two.');
    expect(asked.get('How many pear are there?')).toBe('one.');
    expect(asked.get('How many ant are there?')).toBe('zero.');
    expect(allAsked('total')).toEqual(new Map([['How many objects are there?', 'three.']]));
  });

  it('says yes and no', () => {
    const asked = allAsked('exists');
    expect(asked.get('Is there a bus?')).toBe('yes.');
    expect(asked.get('Is there a ant?')).toBe('no.');
  });
});

describe('scenes', () => {
  it('are the same bytes for the same seed and different ones for another', async () => {
    const [first, again, other] = [await generateScene(7), await generateScene(7), await generateScene(8)];
    expect(again.png.equals(first.png)).toBe(true);
    expect(again.questions).toEqual(first.questions);
    expect(other.png.equals(first.png)).toBe(false);
  });

  it.each([
    [1, 'bird-microscope'],
    [4, 'paperclips-candles'],
    [5, 'keyboards-trumpet'],
    [9, 'seven-objects'],
    [10, 'bears-rainbow'],
  ])('of seed %i is the sample %s', async (seed, name) => {
    const { png } = await generateScene(seed, { artwork: PERMISSIVE_ARTWORK });
    const pixels = async (file: Buffer) => sharp(file).raw().toBuffer();
    const sample = await readFile(new URL(`../../../../samples/${name}.png`, import.meta.url));
    expect((await pixels(sample)).equals(await pixels(png))).toBe(true);
  });

  it('are 256 x 256 8-bit RGB', async () => {
    const { png } = await generateScene(3);
    const cut = await sharp((await generateScene(3, { crop: { rows: 2, cols: 4 } })).png).metadata();
    expect(cut).toMatchObject({ width: 256, height: 128 });
    const meta = await sharp(png).metadata();
    expect(meta).toMatchObject({ format: 'png', width: 256, height: 256, channels: 3, depth: 'uchar' });
  });

  it('hold one to eight objects in reading order, one a cell', async () => {
    const scenes = await Promise.all(Array.from({ length: 60 }, (_, index) => sceneOfSeries(5, index)));
    for (const { objects } of scenes) {
      const cells = objects.map((object) => CELLS.indexOf(object.cell));
      expect(cells).toEqual([...new Set(cells)].sort((a, b) => a - b));
      expect(objects.every((object) => sceneClasses().includes(object.name))).toBe(true);
    }
    for (const { questions } of scenes) {
      expect(new Set(questions.map((question) => question.ask)).size).toBe(6);
    }
    const counts = new Set(scenes.map((scene) => scene.objects.length));
    expect([...counts].sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const kinds = new Set(scenes.flatMap((scene) => scene.questions.map((question) => question.kind)));
    expect([...kinds].sort()).toEqual([...QUESTION_KINDS].sort());
    expect(scenes.some(({ objects }) => new Set(objects.map((o) => o.name)).size < objects.length)).toBe(
      true,
    );
  });

  it('keep every object inside its cell', () => {
    const random = new SeededRandom(2);
    for (const [index, cell] of CELLS.entries()) {
      for (let draw = 0; draw < 50; draw++) {
        const { left, top, sizePx } = placeInCell(cell, random);
        expect([Math.floor(left / 64), Math.floor((left + sizePx - 1) / 64)]).toEqual([index % 4, index % 4]);
        const row = Math.floor(index / 4);
        expect([Math.floor(top / 64), Math.floor((top + sizePx - 1) / 64)]).toEqual([row, row]);
        expect(sizePx).toBeGreaterThanOrEqual(44);
      }
    }
  });

  it('draw something where an object is', async () => {
    const random = new SeededRandom(11);
    const seeds = Array.from({ length: 6 }, () => random.integer(0, 1e6));
    for (const seed of seeds) {
      const { png, objects } = await generateScene(seed, { artwork: UNSEEN_ARTWORK });
      for (const { cell } of objects) {
        const index = CELLS.indexOf(cell);
        const region = { left: (index % 4) * 64, top: Math.floor(index / 4) * 64, width: 64, height: 64 };
        const { entropy } = await sharp(await sharp(png).extract(region).png().toBuffer()).stats();
        expect(entropy).toBeGreaterThan(0.5);
      }
    }
  });
});

describe('artwork', () => {
  it('has every class in some known set and in the unseen one', () => {
    const missing = (sets: readonly (typeof KNOWN_ARTWORK)[number][]) =>
      sceneClasses().filter((name) => sets.every((set) => iconSvg(set, name, 64) === undefined));
    expect(missing(KNOWN_ARTWORK)).toEqual([]);
    expect(missing(UNSEEN_ARTWORK)).toEqual([]);
  });

  it('follows aliases', () => {
    const aliased = sceneClasses().filter((name) => iconSvg('emojione', name, 64) !== undefined);
    expect(aliased.length).toBe(120);
    expect(iconSvg('noto', 'no such icon', 64)).toBeUndefined();
  });
});
