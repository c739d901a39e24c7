import {
  encodePng,
  orientationBlock,
  pngChunk,
  withJpegExif,
  withPngExif,
  withWebpExif,
} from '@kvcapsule/testing/pictures';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { inspectImage } from './inspect-image.js';

const PARAM = 'messages.0.content.0';
const inspect = (bytes: Uint8Array, maxPixels = 50_000_000) =>
  inspectImage(bytes, { param: PARAM, maxPixels });

const blank = (width: number, height: number) =>
  sharp({ create: { width, height, channels: 3, background: '#123456' } });

describe('what is taken', () => {
  it.each(['png', 'jpeg', 'webp', 'gif'] as const)('%s', async (format) => {
    const bytes = await blank(30, 20).toFormat(format).toBuffer();
    expect(await inspect(bytes)).toEqual({ format, width: 30, height: 20 });
  });

  it('PNG with animation, as a PNG', async () => {
    const png = encodePng({ width: 1, height: 1, colour: 'grey', bitDepth: 8, samples: [1] });
    const control = pngChunk('acTL', Buffer.from([0, 0, 0, 1, 0, 0, 0, 0]));
    const animated = Buffer.concat([png.subarray(0, 33), control, png.subarray(33)]);
    expect(await inspect(animated)).toMatchObject({ format: 'png', width: 1 });
  });
});

describe('a size', () => {
  const side = fc.integer({ min: 1, max: 300 });
  const block = fc.constantFrom(undefined, orientationBlock(6, 'big'), Buffer.from('rubbish'));

  it('is what the decoder finds, whatever tells it', async () => {
    await fc.assert(
      fc.asyncProperty(
        side,
        side,
        fc.constantFrom('png', 'jpeg', 'webp', 'gif'),
        fc.boolean(),
        block,
        async (width, height, format, alpha, exif) => {
          const background = { r: 1, g: 2, b: 3, alpha: alpha ? 0.5 : 1 };
          const picture = sharp({ create: { width, height, channels: 4, background } });
          const plain = await picture.toFormat(format, { lossless: alpha }).toBuffer();
          const put = { png: withPngExif, jpeg: withJpegExif, gif: (bytes: Buffer) => bytes };
          const bytes =
            exif === undefined
              ? plain
              : format === 'webp'
                ? withWebpExif(plain, exif, width, height)
                : put[format as 'png'](plain, exif);
          const { autoOrient } = await sharp(bytes).metadata();
          expect(await inspect(bytes)).toEqual({ format, ...autoOrient });
        },
      ),
      { numRuns: 120, seed: 9 },
    );
  });

  it.each([
    [32_768, 1, true],
    [32_769, 1, false],
    [1, 32_768, true],
    [1, 65_000, false],
    [1_080, 40_000, false],
  ])('%i x %i is taken: %s', async (width, height, isTaken) => {
    const bytes = await blank(width, height).jpeg().toBuffer();
    if (isTaken) expect(await inspect(bytes)).toMatchObject({ width, height });
    else
      await expect(inspect(bytes)).rejects.toMatchObject({
        code: 'IMAGE_TOO_LARGE',
        message: expect.stringContaining('more than 32768 on a side') as string,
        param: PARAM,
      });
  });

  it('of a file of nothing but chunks or fill bytes is asked of the decoder', async () => {
    const png = await blank(2, 2).png().toBuffer();
    const chunks = Buffer.concat(new Array<Buffer>(150_000).fill(pngChunk('abCd', Buffer.alloc(0))));
    const many = Buffer.concat([png.subarray(0, 33), chunks, png.subarray(33)]);
    const jpeg = await blank(2, 2).jpeg().toBuffer();
    const filled = Buffer.concat([jpeg.subarray(0, 2), Buffer.alloc(1_000_000, 0xff), jpeg.subarray(2)]);
    for (const bytes of [many, filled]) {
      const outcome = await inspect(bytes).catch((error: unknown) => error);
      expect(outcome).toMatchObject(outcome instanceof Error ? { code: 'IMAGE_INVALID' } : { width: 2 });
    }
  });
});

describe('what is not', () => {
  const svg =
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>';

  it.each([
    ['SVG', Buffer.from(svg)],
    ['SVG behind an XML declaration', Buffer.from(`<?xml version="1.0"?>\n<!-- a --><${svg.slice(1)}`)],
    ['BMP', Buffer.concat([Buffer.from('BM'), Buffer.alloc(60)])],
    ['PDF', Buffer.from('%PDF-1.7\n%âãÏÓ\n1 0 obj\n')],
    ['ZIP', Buffer.from('504b0304140000000000', 'hex')],
  ])('%s is named as unsupported', async (_name, bytes) => {
    await expect(inspect(bytes)).rejects.toMatchObject({ code: 'IMAGE_UNSUPPORTED', param: PARAM });
  });

  it.each(['tiff', 'avif'] as const)('%s is named as unsupported', async (format) => {
    const bytes = await blank(16, 16).toFormat(format).toBuffer();
    await expect(inspect(bytes)).rejects.toMatchObject({ code: 'IMAGE_UNSUPPORTED' });
  });

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('hello')],
    ['a page', Buffer.from('<!doctype html><html><body>Not found</body></html>')],
    ['a bare PNG signature', Buffer.from('89504e470d0a1a0a', 'hex')],
    ['zeros', Buffer.alloc(4096)],
  ])('%s is no picture', async (_name, bytes) => {
    await expect(inspect(bytes)).rejects.toMatchObject({ code: 'IMAGE_INVALID', param: PARAM });
  });

  it('a picture of too many pixels, with its size', async () => {
    const bytes = await blank(101, 100).png().toBuffer();
    await expect(inspect(bytes, 10_000)).rejects.toMatchObject({
      code: 'IMAGE_TOO_LARGE',
      message: expect.stringContaining('101 x 100') as string,
    });
    await expect(inspect(bytes, 10_100)).resolves.toBeDefined();
  });

  it('a bomb: a few bytes that stand for 40,000 x 40,000 pixels, refused by its header', async () => {
    const header = Buffer.alloc(13);
    header.writeUInt32BE(40_000, 0);
    header.writeUInt32BE(40_000, 4);
    header.set([8, 2, 0, 0, 0], 8);
    const png = encodePng({ width: 1, height: 1, colour: 'grey', bitDepth: 8, samples: [1] });
    const bomb = Buffer.concat([png.subarray(0, 8), pngChunk('IHDR', header), png.subarray(33)]);
    await expect(inspect(bomb)).rejects.toMatchObject({ code: 'IMAGE_TOO_LARGE' });
  });

  it.each(['png', 'jpeg', 'webp', 'gif'] as const)(
    '%s that was cut off, though its header is whole',
    async (format) => {
      const bytes = await sharp(Buffer.from(Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * i) % 251)), {
        raw: { width: 64, height: 64, channels: 3 },
      })
        .toFormat(format)
        .toBuffer();
      await expect(inspect(bytes)).resolves.toBeDefined();
      for (const share of [0.3, 0.6, 0.9, 0.99])
        await expect(inspect(bytes.subarray(0, Math.floor(bytes.length * share)))).rejects.toMatchObject({
          code: 'IMAGE_INVALID',
        });
    },
  );

  it('says nothing of what the picture holds', async () => {
    const error: unknown = await inspect(Buffer.from('secret words of the user')).catch(
      (caught: unknown) => caught,
    );
    expect(String(error)).not.toContain('secret');
  });
});
