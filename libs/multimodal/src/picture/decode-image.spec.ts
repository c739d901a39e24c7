import {
  encodePng,
  orientationBlock,
  type Pixels,
  type PngContent,
  storedTurned,
  withJpegExif,
  withPngExif,
  withWebpExif,
} from '@kvcapsule/testing/pictures';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodeImage } from './decode-image.js';
import { inspectImage } from './inspect-image.js';

const OPTIONS = { param: 'messages.0.content.0', maxPixels: 50_000_000 };
const decode = (bytes: Uint8Array) => decodeImage(bytes, OPTIONS);

/** Flat squares, each of another colour, so that no turn or mirroring looks like another. */
function scene(width: number, height: number, square: number): Pixels {
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y += 1)
    for (let x = 0; x < width; x += 1) {
      const col = Math.floor(x / square);
      const row = Math.floor(y / square);
      rgb.set([40 + 50 * col, 40 + 40 * row, 30 * (col + 2 * row)], 3 * (y * width + x));
    }
  return { rgb, width, height };
}

/** 8 x 8 pixels of one colour, written by libjpeg with Adobe's inverted inks. */
const CMYK_JPEG = [
  '/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAGBAUGBQQGBgUGBwcGCAoQCgoJCQoUDg8MEBcUGBgXFBYWGh0lHxobIxwWFiAsICMm',
  'JykqKRkfLTAtKDAlKCko/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAgGB//EABQQAQAAAAAA',
  'AAAAAAAAAAAAAAD/2gAOBEMATQBZAEsAAD8AVKUG9tL/2Q==',
].join('');

const raw = ({ rgb, width, height }: Pixels) => sharp(rgb, { raw: { width, height, channels: 3 } });

function worstDifference(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (b[i] ?? 0))), 0);
}

async function expectPixels(bytes: Uint8Array, upright: Pixels, tolerance: number): Promise<void> {
  const { width, height } = upright;
  expect(await inspectImage(bytes, OPTIONS)).toMatchObject({ width, height });
  const decoded = await decode(bytes);
  expect(decoded).toMatchObject({ width, height });
  expect(worstDifference(decoded.rgb, upright.rgb)).toBeLessThanOrEqual(tolerance);
}

describe('a picture stored turned', () => {
  const upright = scene(64, 48, 16);
  const turns = [1, 2, 3, 4, 5, 6, 7, 8];
  const orders = ['big', 'little'] as const;
  // Flat squares on JPEG's own grid lose only what the change of colour space rounds.
  const JPEG_TOLERANCE = 6;

  for (const order of orders) {
    it.each(turns)(`is upright as JPEG, orientation %i, ${order}-endian`, async (orientation) => {
      const jpeg = await raw(storedTurned(upright, orientation))
        .jpeg({ quality: 100, chromaSubsampling: '4:4:4' })
        .toBuffer();
      await expectPixels(withJpegExif(jpeg, orientationBlock(orientation, order)), upright, JPEG_TOLERANCE);
    });

    it.each(turns)(`is upright as PNG, orientation %i, ${order}-endian`, async (orientation) => {
      const png = await raw(storedTurned(upright, orientation)).png().toBuffer();
      await expectPixels(withPngExif(png, orientationBlock(orientation, order)), upright, 0);
    });

    it.each(turns)(`is upright as WebP, orientation %i, ${order}-endian`, async (orientation) => {
      const stored = storedTurned(upright, orientation);
      const webp = await raw(stored).webp({ lossless: true }).toBuffer();
      const block = orientationBlock(orientation, order);
      await expectPixels(withWebpExif(webp, block, stored.width, stored.height), upright, 0);
    });
  }

  it('is upright at 4,000 pixels, where decoders take short cuts', async () => {
    const large = scene(4000, 64, 800);
    const jpeg = await raw(storedTurned(large, 6)).jpeg({ quality: 95 }).toBuffer();
    await expectPixels(withJpegExif(jpeg, orientationBlock(6, 'big')), large, 12);
  });

  it.each([0, 9, 65535])('is left as it is by orientation %i', async (orientation) => {
    const png = await raw(upright).png().toBuffer();
    await expectPixels(withPngExif(png, orientationBlock(orientation, 'little')), upright, 0);
  });
});

describe('a spoilt EXIF block', () => {
  const upright = scene(48, 32, 16);
  const pointingAtItself = () => {
    const block = orientationBlock(1, 'little');
    block.writeUInt32LE(8, 22);
    return block;
  };
  const beyondItsEnd = () => {
    const block = orientationBlock(6, 'little');
    block.writeUInt32LE(0x00ffffff, 4);
    return block;
  };
  const blocks: [string, Buffer][] = [
    ['16 bytes of noise', Buffer.from('9f3a77c2005de1b8461f0a2c8890d3e5', 'hex')],
    ['a directory beyond its end', beyondItsEnd()],
    ['64 KB', Buffer.alloc(65_525, 0xa7)],
    ['a directory that follows itself', pointingAtItself()],
    ['nothing', Buffer.alloc(0)],
    ['a header cut short', orientationBlock(6, 'big').subarray(0, 6)],
  ];

  it.each(blocks)('of %s changes nothing', async (_name, block) => {
    const jpeg = await raw(upright).jpeg().toBuffer();
    const png = await raw(upright).png().toBuffer();
    const webp = await raw(upright).webp({ lossless: true }).toBuffer();
    const plain = await decode(jpeg);
    await expectPixels(withJpegExif(jpeg, block), plain, 0);
    await expectPixels(withPngExif(png, block), upright, 0);
    await expectPixels(withWebpExif(webp, block, 48, 32), upright, 0);
  });

  it('changes nothing, whatever its bytes', async () => {
    const jpeg = await raw(upright).jpeg().toBuffer();
    const plain = await decode(jpeg);
    const noise = fc.uint8Array({ maxLength: 80 });
    await fc.assert(
      fc.asyncProperty(noise, fc.constantFrom('', 'II*\0', 'MM\0*'), async (tail, head) => {
        const block = Buffer.concat([Buffer.from(head, 'latin1'), tail]);
        const decoded = await decode(withJpegExif(jpeg, block));
        expect(decoded.rgb.length).toBe(plain.rgb.length);
      }),
      { numRuns: 100, seed: 12 },
    );
  });
});

describe('transparency', () => {
  const square = { width: 2, height: 2, bitDepth: 8 } as const;
  const rgbOf = async (content: PngContent) => [...(await decode(encodePng(content))).rgb];
  const WHITE = [255, 255, 255];
  const onWhite = (value: number, alpha: number) => (value * alpha + 255 * (255 - alpha)) / 255;

  it('lies on white, and what is under it is not seen', async () => {
    const seen = [10, 20, 30];
    const hidden = [200, 100, 50, 0];
    const samples = [...seen, 255, ...hidden, ...hidden, ...seen, 255];
    expect(await rgbOf({ ...square, colour: 'rgba', samples })).toEqual([
      ...seen,
      ...WHITE,
      ...WHITE,
      ...seen,
    ]);
  });

  it('mixes with white in between', async () => {
    const samples = [10, 20, 30, 128, 200, 100, 50, 1, 0, 0, 0, 254, 90, 91, 92, 64];
    const got = await rgbOf({ ...square, colour: 'rgba', samples });
    for (let pixel = 0; pixel < 4; pixel += 1)
      for (let channel = 0; channel < 3; channel += 1) {
        const want = onWhite(samples[4 * pixel + channel] ?? 0, samples[4 * pixel + 3] ?? 0);
        expect(Math.abs((got[3 * pixel + channel] ?? 0) - want)).toBeLessThanOrEqual(1);
      }
  });

  it('of grey with alpha', async () => {
    const samples = [10, 255, 200, 0, 50, 255, 7, 0];
    expect(await rgbOf({ ...square, colour: 'greyAlpha', samples })).toEqual([
      ...[10, 10, 10],
      ...WHITE,
      ...[50, 50, 50],
      ...WHITE,
    ]);
  });

  it('of a palette, given by tRNS', async () => {
    const palette = [9, 8, 7, 200, 0, 0, 0, 0, 200];
    const content = { ...square, colour: 'palette', samples: [0, 1, 2, 1], palette } as const;
    expect(await rgbOf({ ...content, transparency: [255, 0, 255] })).toEqual([
      9,
      8,
      7,
      ...WHITE,
      0,
      0,
      200,
      ...WHITE,
    ]);
    expect(await rgbOf(content)).toEqual([9, 8, 7, 200, 0, 0, 0, 0, 200, 200, 0, 0]);
  });

  it('of one colour, given by tRNS', async () => {
    const rgb = [1, 2, 3, 4, 5, 6, 1, 2, 3, 7, 8, 9];
    expect(await rgbOf({ ...square, colour: 'rgb', samples: rgb, transparency: [0, 1, 0, 2, 0, 3] })).toEqual(
      [...WHITE, ...[4, 5, 6], ...WHITE, ...[7, 8, 9]],
    );
    expect(await rgbOf({ ...square, colour: 'grey', samples: [5, 6, 7, 5], transparency: [0, 5] })).toEqual([
      ...WHITE,
      ...[6, 6, 6],
      ...[7, 7, 7],
      ...WHITE,
    ]);
  });

  it('of WebP', async () => {
    const samples = Buffer.from([10, 20, 30, 255, 200, 100, 50, 0]);
    const webp = await sharp(samples, { raw: { width: 2, height: 1, channels: 4 } })
      .webp({ lossless: true, exact: true })
      .toBuffer();
    expect([...(await decode(webp)).rgb]).toEqual([10, 20, 30, ...WHITE]);
  });
});

describe('16 bits a channel', () => {
  const square = { width: 4, height: 4 } as const;
  const count = { grey: 1, greyAlpha: 2, rgb: 3, rgba: 4 } as const;

  it.each(['grey', 'greyAlpha', 'rgb', 'rgba'] as const)('%s is its 8-bit twin', async (colour) => {
    const samples = Uint8Array.from({ length: 16 * count[colour] }, (_, i) => (i * 37) % 256);
    const isAlpha = (i: number) =>
      colour.endsWith('a') || colour === 'greyAlpha' ? (i + 1) % count[colour] === 0 : false;
    const opaque = samples.map((value, i) => (isAlpha(i) ? 255 : value));
    const twin = await decode(encodePng({ ...square, colour, bitDepth: 8, samples: opaque }));
    const deep = Uint16Array.from(opaque, (value) => value * 257);
    expect(await decode(encodePng({ ...square, colour, bitDepth: 16, samples: deep }))).toEqual(twin);
  });

  it('is shifted, not stretched, for every value', async () => {
    const samples = Uint16Array.from({ length: 65_536 }, (_, i) => i);
    const { rgb } = await decode(
      encodePng({ width: 256, height: 256, colour: 'grey', bitDepth: 16, samples }),
    );
    expect(samples.every((value, i) => rgb[3 * i] === value >> 8)).toBe(true);
  });
});

describe('other kinds of pictures', () => {
  it('takes CMYK as Pillow does: the key takes its share of the light, with no profile', async () => {
    // Pillow 13.0 reads the same file as (207, 78, 16).
    const jpeg = Buffer.from(CMYK_JPEG, 'base64');
    expect((await sharp(jpeg).metadata()).space).toBe('cmyk');
    const { rgb, width, height } = await decode(jpeg);
    expect([width, height]).toEqual([8, 8]);
    expect([...rgb]).toEqual(Array.from({ length: 64 }, () => [207, 78, 16]).flat());
  });

  it('ignores a colour profile', async () => {
    const pixels = scene(32, 32, 16);
    const png = await raw(pixels).withIccProfile('p3').png().toBuffer();
    const plain = await sharp(png, { ignoreIcc: true }).raw().toBuffer();
    expect(png.includes('iCCP')).toBe(true);
    expect(worstDifference((await decode(png)).rgb, plain)).toBe(0);
  });

  it.each(['gif', 'webp'] as const)('shows the first frame of an animated %s', async (format) => {
    const frames = ['#ff0000', '#00ff00'].map((background) =>
      sharp({ create: { width: 8, height: 8, channels: 3, background } })
        .png()
        .toBuffer(),
    );
    const animated = await sharp(await Promise.all(frames), { join: { animated: true } })
      .toFormat(format, { lossless: true })
      .toBuffer();
    expect((await sharp(animated).metadata()).pages).toBe(2);
    const red = Uint8Array.from({ length: 192 }, (_, i) => (i % 3 === 0 ? 255 : 0));
    await expectPixels(animated, { rgb: red, width: 8, height: 8 }, 0);
  });

  it('decodes many at a time and each to its own pixels', async () => {
    const shades = Array.from({ length: 24 }, (_, i) => i * 10);
    const decoded = await Promise.all(
      shades.map((shade) =>
        decode(
          encodePng({ width: 3, height: 1, colour: 'grey', bitDepth: 8, samples: [shade, shade, shade] }),
        ),
      ),
    );
    expect(decoded.map(({ rgb }) => rgb[4])).toEqual(shades);
  });
});

describe('a damaged picture', () => {
  it.each(['png', 'jpeg', 'webp', 'gif'] as const)(
    'of format %s is refused at any length',
    async (format) => {
      const whole = await raw(scene(64, 64, 16))
        .toFormat(format)
        .toBuffer();
      await expect(decode(whole)).resolves.toBeDefined();
      const lengths = [0, 1, 4, 12, 20, 40, Math.floor(whole.length / 2), whole.length - 30];
      for (const length of lengths)
        await expect(decode(whole.subarray(0, length)), `${length} bytes`).rejects.toMatchObject({
          code: 'IMAGE_INVALID',
          param: OPTIONS.param,
        });
    },
  );

  it('is refused when its data is spoilt though its structure is whole', async () => {
    const png = await raw(scene(64, 64, 16))
      .png()
      .toBuffer();
    png.fill(0x55, png.indexOf('IDAT') + 6, png.indexOf('IEND') - 12);
    await expect(decode(png)).rejects.toMatchObject({ code: 'IMAGE_INVALID' });
  });
});
