import { constants, deflateSync } from 'node:zlib';
import { pngChunk } from '@kvcapsule/testing/pictures';
import { mixSeed, SeededRandom } from '@kvcapsule/testing/scenes';

/** Pictures that requests draw from: few that many ask for, and many that few do. */
export interface PictureMix {
  /** Share of first turns with pictures, 0 to 1. */
  readonly share: number;
  /** Pictures of such a turn. */
  readonly perRequest: number;
  readonly width: number;
  readonly height: number;
  /** Different pictures; 0: each is new. */
  readonly distinct: number;
  /** Exponent of Zipf's law: the k-th picture is asked for in proportion to 1 / k^s; 0: all alike. */
  readonly zipf: number;
}

export type PictureSize = Pick<PictureMix, 'width' | 'height'>;

/** Draws places 0 to `count` - 1 by Zipf's law. */
export class Zipf {
  readonly #cumulative: Float64Array;

  constructor(count: number, exponent: number) {
    let sum = 0;
    this.#cumulative = Float64Array.from({ length: count }, (_, at) => (sum += (at + 1) ** -exponent));
  }

  /** @param uniform in [0, 1) */
  draw(uniform: number): number {
    const wanted = uniform * (this.#cumulative.at(-1) ?? 0);
    let [low, high] = [0, this.#cumulative.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#cumulative[middle] ?? 0) > wanted) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** Side of a square of one colour: a picture costs a server what its size says and few bytes to send. */
const TILE = 8;
const RGB = 2;
/** Making pictures takes time from a load process; there is nothing to find but runs of noughts. */
const DEFLATE = { level: 1, memLevel: 9, strategy: constants.Z_RLE };
const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** PNG's filters: a line as what each pixel differs by from that to its left, and from that above. */
const FILTERS = { sub: 1, up: 2 };

/**
 * PNG's lines of such a picture. A line of one row of squares differs from pixel to pixel only where a square begins, and
 * not at all from the line above, so all else are noughts: nothing is to be written, and they deflate many times as fast
 * as the colours would (a picture of 512 x 512 takes 1.4 ms in place of 5).
 */
function scanLines(random: SeededRandom, { width, height }: PictureSize): Buffer {
  const lineBytes = 1 + 3 * width;
  const lines = Buffer.alloc(height * lineBytes);
  for (let line = 0; line < height; line += 1) lines[line * lineBytes] = FILTERS.up;
  for (let top = 0; top < height; top += TILE) {
    lines[top * lineBytes] = FILTERS.sub;
    const before = [0, 0, 0];
    for (let left = 0; left < width; left += TILE)
      for (let channel = 0; channel < 3; channel += 1) {
        const colour = random.integer(0, 255);
        // a byte takes the difference modulo 256, as the filter has it
        lines[top * lineBytes + 1 + 3 * left + channel] = colour - (before[channel] ?? 0);
        before[channel] = colour;
      }
  }
  return lines;
}

/** A PNG as a data URI, the same for the same seed and number: squares of random colours. */
export function pictureUri(seed: number, number: number, size: PictureSize): string {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(size.width, 0);
  header.writeUInt32BE(size.height, 4);
  header.set([8, RGB], 8);
  const data = deflateSync(scanLines(new SeededRandom(mixSeed(seed, number)), size), DEFLATE);
  const chunks = [pngChunk('IHDR', header), pngChunk('IDAT', data), pngChunk('IEND', Buffer.alloc(0))];
  return `data:image/png;base64,${Buffer.concat([SIGNATURE, ...chunks]).toString('base64')}`;
}

/** Bytes of made pictures that are kept. */
const KEPT_BYTES = 256 * 2 ** 20;

/** Made when first asked for; of a set that does not fit, those asked for last are kept. */
export class Pictures {
  readonly #made = new Map<number, string>();
  #bytes = 0;

  constructor(
    readonly seed: number,
    readonly size: PictureSize,
  ) {}

  /** Makes those that fit and will be asked for, so that nobody waits for them later. */
  prepare(count: number): void {
    for (let number = 0; number < count && this.#bytes < KEPT_BYTES; number += 1) this.uri(number);
  }

  uri(number: number): string {
    const uri = this.#made.get(number) ?? pictureUri(this.seed, number, this.size);
    if (!this.#made.delete(number)) this.#bytes += uri.length;
    this.#made.set(number, uri);
    for (const [oldest, kept] of this.#made) {
      if (this.#bytes <= KEPT_BYTES || oldest === number) break;
      this.#made.delete(oldest);
      this.#bytes -= kept.length;
    }
    return uri;
  }
}
