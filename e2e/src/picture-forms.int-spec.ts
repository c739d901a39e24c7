import {
  encodePng,
  orientationBlock,
  type Pixels,
  storedTurned,
  withJpegExif,
  withPngExif,
  withWebpExif,
} from '@kvcapsule/testing/pictures';
import sharp, { type Sharp } from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Cluster, picture } from './harness.js';

const QUESTION = 'Describe the image.';
const base64 = picture('a').slice('data:image/png;base64,'.length);
const uri = (bytes: Uint8Array, mime = 'image/png'): string =>
  `data:${mime};base64,${Buffer.from(bytes).toString('base64')}`;

async function pixels(name: string): Promise<Pixels> {
  const encoded = Buffer.from(picture(name).slice('data:image/png;base64,'.length), 'base64');
  const { data, info } = await sharp(encoded).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  return { rgb: data, width: info.width, height: info.height };
}

const raw = ({ rgb, width, height }: Pixels): Sharp =>
  sharp(Buffer.from(rgb), { raw: { width, height, channels: 3 } });

describe('the same picture in other forms is answered as its plain twin', () => {
  let cluster: Cluster, plain: Pixels, answer: string;
  beforeAll(async () => {
    cluster = await Cluster.start();
    plain = await pixels('a');
    answer = await described(picture('a'));
    expect(answer).toContain('bus at A1');
  }, 120_000);
  afterAll(() => cluster.stop());

  const described = async (url: string): Promise<string> => {
    const body = { model: 'emoji-vlm', temperature: 0, messages: [ask(QUESTION, url)] };
    const response = await cluster.chat(body);
    const text = await response.text();
    if (response.status !== 200) return text;
    const parsed = JSON.parse(text) as { choices: [{ message: { content: string } }] };
    return parsed.choices[0].message.content;
  };

  it('F10: turned by EXIF, in every format and byte order', async () => {
    for (let orientation = 2; orientation <= 8; orientation++) {
      const stored = storedTurned(plain, orientation);
      const big = orientationBlock(orientation, 'big');
      const little = orientationBlock(orientation, 'little');
      const png = await raw(stored).png().toBuffer();
      const webp = await raw(stored).webp({ lossless: true }).toBuffer();
      const jpeg = await raw(stored).jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer();
      const upright = await described(
        uri(await raw(plain).jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer(), 'image/jpeg'),
      );
      expect(await described(uri(withPngExif(png, big)))).toBe(answer);
      expect(
        await described(uri(withWebpExif(webp, little, stored.width, stored.height), 'image/webp')),
      ).toBe(answer);
      expect(await described(uri(withJpegExif(jpeg, big), 'image/jpeg'))).toBe(upright);
      expect(await described(uri(withJpegExif(jpeg, little), 'image/jpeg'))).toBe(upright);
    }
  });

  it('F12: with a spoilt EXIF block', async () => {
    const jpeg = await raw(plain).jpeg({ quality: 100 }).toBuffer();
    const twin = await described(uri(jpeg, 'image/jpeg'));
    const past = orientationBlock(6, 'big');
    past.writeUInt32BE(0xffff, 4);
    for (const block of [Buffer.alloc(16, 0xa7), past, Buffer.alloc(65_000, 1)])
      expect(await described(uri(withJpegExif(jpeg, block), 'image/jpeg'))).toBe(twin);
  });

  it('F13: what lies under transparency is never seen', async () => {
    const hidden = await pixels('b');
    const { width, height } = plain;
    const shown = Buffer.alloc(width * height * 4);
    const flat = Buffer.alloc(width * height * 3, 255);
    for (let i = 0; i < width * height; i++) {
      const opaque = i % width < width / 2;
      const from = opaque ? plain.rgb : hidden.rgb;
      shown.set([...from.subarray(3 * i, 3 * i + 3), opaque ? 255 : 0], 4 * i);
      if (opaque) flat.set(plain.rgb.subarray(3 * i, 3 * i + 3), 3 * i);
    }
    const twin = await described(uri(await raw({ rgb: flat, width, height }).png().toBuffer()));
    expect(twin).not.toBe(answer);
    const rgba = sharp(shown, { raw: { width, height, channels: 4 } });
    expect(await described(uri(await rgba.clone().png().toBuffer()))).toBe(twin);
    expect(
      await described(uri(await rgba.clone().webp({ lossless: true, exact: true }).toBuffer(), 'image/webp')),
    ).toBe(twin);
  });

  it('F14: with sixteen bits a sample', async () => {
    const { width, height } = plain;
    const deep = Uint16Array.from(plain.rgb, (value) => value * 257);
    expect(
      await described(uri(encodePng({ width, height, colour: 'rgb', bitDepth: 16, samples: deep }))),
    ).toBe(answer);
  });

  it('F15: wrapped in every lawful data URI, or refused at its part', async () => {
    const escaped = base64.replaceAll('+', '%2B').replaceAll('=', '%3D');
    const urlSafe = base64.replaceAll('+', '-').replaceAll('/', '_');
    const folded = base64.replaceAll(/(.{76})/g, '$1\r\n');
    const forms = [
      `data:image/png;charset=utf-8;base64,${base64}`,
      `DATA:IMAGE/PNG;BASE64,${base64}`,
      `data:image/png;name=a.png;base64,${base64}`,
      `data:;base64,${base64}`,
      `data:application/octet-stream;base64,${base64}`,
      `data:image/png;base64,${base64.replace(/=+$/, '')}`,
      `data:image/png;base64,${urlSafe}`,
      `data:image/png;base64,${folded}`,
      `data:image/png;base64,${escaped}`,
    ];
    for (const form of forms)
      expect([form.slice(0, 40), await described(form)]).toEqual([form.slice(0, 40), answer]);
    expect(await described(base64)).toContain('messages.0.content.0');
  });
});
