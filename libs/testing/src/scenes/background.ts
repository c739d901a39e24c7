import type { SeededRandom } from './random.js';

type Colour = readonly [number, number, number];

const NOISE_BLOCK_PX = 8;
const NOISE_SIGMA = 20;
const CHECKER_PX = [16, 32, 64] as const;

function colour(random: SeededRandom): Colour {
  return [random.integer(0, 255), random.integer(0, 255), random.integer(0, 255)];
}

function paint(sizePx: number, at: (x: number, y: number) => Colour): Buffer {
  const rgb = Buffer.alloc(sizePx * sizePx * 3);
  for (let y = 0; y < sizePx; y++) {
    for (let x = 0; x < sizePx; x++) rgb.set(at(x, y), (y * sizePx + x) * 3);
  }
  return rgb;
}

function gradient(sizePx: number, random: SeededRandom): Buffer {
  const from = colour(random);
  const to = colour(random);
  const horizontal = random.next() < 0.5;
  return paint(sizePx, (x, y) => {
    const share = (horizontal ? x : y) / (sizePx - 1);
    const mix = (channel: 0 | 1 | 2) => Math.round(from[channel] + (to[channel] - from[channel]) * share);
    return [mix(0), mix(1), mix(2)];
  });
}

function noise(sizePx: number, random: SeededRandom): Buffer {
  const base = colour(random);
  const side = Math.ceil(sizePx / NOISE_BLOCK_PX);
  const clamp = (value: number) => Math.min(255, Math.max(0, Math.round(value)));
  const blocks = Array.from({ length: side * side }, (): Colour => {
    const channel = (index: 0 | 1 | 2) => clamp(base[index] + random.gaussian(NOISE_SIGMA));
    return [channel(0), channel(1), channel(2)];
  });
  const block = (value: number) => Math.floor(value / NOISE_BLOCK_PX);
  return paint(sizePx, (x, y) => blocks[block(y) * side + block(x)] ?? base);
}

function checkerboard(sizePx: number, random: SeededRandom): Buffer {
  const colours = [colour(random), colour(random)] as const;
  const square = random.pick(CHECKER_PX);
  return paint(sizePx, (x, y) =>
    (Math.floor(x / square) + Math.floor(y / square)) % 2 === 0 ? colours[0] : colours[1],
  );
}

/** RGB bytes `[sizePx][sizePx][3]` of one of the four kinds of background. */
export function drawBackground(sizePx: number, random: SeededRandom): Buffer {
  const plain = () => {
    const one = colour(random);
    return paint(sizePx, () => one);
  };
  return random.pick([
    plain,
    () => gradient(sizePx, random),
    () => noise(sizePx, random),
    () => checkerboard(sizePx, random),
  ])();
}
