import { createHash } from 'node:crypto';
import { encodePng } from '@kvcapsule/testing/pictures';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadImage } from './load-image.js';
import { DEFAULT_IMAGE_POLICY } from './source/fetch-image.js';

const PARAM = 'messages.0.content.1.image_url.url';
const options = { param: PARAM, policy: DEFAULT_IMAGE_POLICY };

const samples = Uint8Array.from({ length: 7 * 5 * 3 }, (_, i) => (i * 71) % 256);
const PNG = encodePng({ width: 7, height: 5, colour: 'rgb', bitDepth: 8, samples });
const BASE64 = PNG.toString('base64');
const SHA256 = createHash('sha256').update(PNG).digest('hex');
const coded = (text: string) => text.replaceAll('+', '%2B').replaceAll('=', '%3d').replaceAll('/', '%2F');

const wrappings: [string, string][] = [
  ['plain', `data:image/png;base64,${BASE64}`],
  ['with a charset', `data:image/png;charset=utf-8;base64,${BASE64}`],
  ['in upper case', `DATA:IMAGE/PNG;BASE64,${BASE64}`],
  ['with a name', `data:image/png;name=a.png;base64,${BASE64}`],
  ['without a type', `data:;base64,${BASE64}`],
  ['as octets', `data:application/octet-stream;base64,${BASE64}`],
  ['as another picture type', `data:image/jpeg;base64,${BASE64}`],
  ['without padding', `data:image/png;base64,${BASE64.replaceAll('=', '')}`],
  ['in the URL-safe alphabet', `data:image/png;base64,${BASE64.replaceAll('+', '-').replaceAll('/', '_')}`],
  ['in lines of 76', `data:image/png;base64,${BASE64.replaceAll(/.{76}/g, '$&\r\n')}\r\n`],
  ['percent-coded', `data:image/png;base64,${coded(BASE64)}`],
  ['with white space around', ` \n data:image/png;base64,${BASE64} `],
  [
    'percent-coded bytes',
    `data:image/png,${[...PNG].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')}`,
  ],
];

describe('a picture in a data URI', () => {
  it.each(wrappings)('%s is the same picture', async (_name, url) => {
    const { bytes, ...info } = await loadImage(url, options);
    expect(Buffer.compare(bytes, PNG)).toBe(0);
    expect(info).toEqual({ format: 'png', width: 7, height: 5, sha256: SHA256 });
  });

  it.each(wrappings.filter(([, url]) => url.startsWith('data:')))(
    '%s is the same picture as bytes of the body',
    async (_name, url) => {
      const { bytes, sha256 } = await loadImage(Buffer.from(url), options);
      expect([Buffer.compare(bytes, PNG), sha256]).toEqual([0, SHA256]);
    },
  );

  it('is found over many slices, and a foreign character in any of them is refused', async () => {
    const bytes = Buffer.concat([PNG, Buffer.alloc(4_000_001, 7)]);
    const uri = Buffer.from(`data:;base64,${bytes.toString('base64')}`);
    expect((await loadImage(Buffer.from(uri), options)).sha256).toBe(
      createHash('sha256').update(bytes).digest('hex'),
    );
    const spaced = Buffer.concat([uri, Buffer.from('\n')]);
    expect((await loadImage(spaced, options)).bytes).toHaveLength(bytes.length);
    for (const at of [13, 1_100_000, 3_333_333, uri.length - 6]) {
      const spoilt = Buffer.from(uri);
      spoilt[at] = 0x21;
      await expect(loadImage(spoilt, options)).rejects.toMatchObject({ code: 'IMAGE_URL_INVALID' });
    }
  });

  it('is found in padded and unpadded base64 of every length', async () => {
    for (const extra of [0, 1, 2]) {
      const bytes = Buffer.concat([PNG, Buffer.alloc(extra)]);
      const padded = await loadImage(`data:;base64,${bytes.toString('base64')}`, options);
      const bare = await loadImage(`data:;base64,${bytes.toString('base64').replaceAll('=', '')}`, options);
      expect(bare.sha256).toBe(padded.sha256);
      expect(padded.bytes).toHaveLength(PNG.length + extra);
    }
  });

  const refused: [string, string, string][] = [
    ['bare base64', BASE64, 'IMAGE_URL_INVALID'],
    [
      'base64 with a foreign character',
      `data:image/png;base64,${BASE64.slice(0, 9)}!${BASE64.slice(9)}`,
      'IMAGE_URL_INVALID',
    ],
    ['base64 of an impossible length', 'data:image/png;base64,AAAAA', 'IMAGE_URL_INVALID'],
    ['padding in the middle', `data:image/png;base64,AA==${BASE64}`, 'IMAGE_URL_INVALID'],
    ['a broken percent code', `data:image/png;base64,${BASE64}%2`, 'IMAGE_URL_INVALID'],
    ['no comma', `data:image/png;base64;${BASE64}`, 'IMAGE_URL_INVALID'],
    ['no data', 'data:image/png;base64,', 'IMAGE_INVALID'],
    ['padding alone', 'data:image/png;base64,==', 'IMAGE_INVALID'],
    ['base64 that is not declared', `data:image/png,${BASE64}`, 'IMAGE_INVALID'],
    ['an empty string', '', 'IMAGE_URL_INVALID'],
    ['a file', 'file:///etc/passwd', 'IMAGE_URL_INVALID'],
    ['FTP', 'ftp://example.com/a.png', 'IMAGE_URL_INVALID'],
    ['a blob', 'blob:https://example.com/1', 'IMAGE_URL_INVALID'],
    ['a path', '/tmp/a.png', 'IMAGE_URL_INVALID'],
    ['a URL without a host', 'https://', 'IMAGE_URL_INVALID'],
    ['a URL with a password', 'https://user:secret@example.com/a.png', 'IMAGE_URL_INVALID'],
    ['an SVG', `data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>`, 'IMAGE_UNSUPPORTED'],
  ];

  it.each(refused)('%s is refused with the field it stands in', async (_name, url, code) => {
    const error: unknown = await loadImage(url, options).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code, param: PARAM, status: 400 });
    expect(String(error)).not.toContain(BASE64.slice(0, 12));
    expect(String(error)).not.toContain('secret');
  });

  it('answers any string with a picture or an error of its own', async () => {
    const piece = fc.oneof(
      fc.constantFrom('data:', 'image/png', ';base64', ',', '%', '=', BASE64, 'http://', '127.0.0.1', ' '),
      fc.string(),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 6 }), async (pieces) => {
        // Names that would be looked up outside are not part of this test.
        const url = pieces.join('').replace(/^\s*https?:\/\/(?!127)/i, 'nohttp://');
        const result = await loadImage(url, options).catch((error: unknown) => error);
        expect(result).toHaveProperty(result instanceof Error ? 'code' : 'sha256');
        if (result instanceof Error) expect(result).toHaveProperty('param', PARAM);
      }),
      { numRuns: 300, seed: 15 },
    );
  });

  it('is refused beyond the limit of bytes', async () => {
    const policy = { ...DEFAULT_IMAGE_POLICY, maxBytes: PNG.length - 1 };
    await expect(loadImage(`data:;base64,${BASE64}`, { param: PARAM, policy })).rejects.toMatchObject({
      code: 'IMAGE_TOO_LARGE',
    });
  });
});
