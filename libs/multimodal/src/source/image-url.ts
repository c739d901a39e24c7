import { KvcError } from '@kvcapsule/contracts';
import { decodeInPlace, unwrap } from './data-uri.js';

/** Where a picture comes from: its bytes are in the URL itself, or somewhere on the web. */
export type ImageSource =
  { readonly kind: 'data'; readonly bytes: Uint8Array } | { readonly kind: 'web'; readonly url: URL };

/** A URL as text, or a data URI as the bytes that it came in, which are used up. */
export type PictureUrl = string | Buffer;

const MAX_HEADER = 1_000;
const COMMA = 0x2c;
const DATA = /^data:/i;
const SCHEME = /^([a-z][a-z0-9+.-]{0,20}):/i;
const BASE64_MARK = /;\s*base64\s*$/i;

function invalid(param: string, message: string): KvcError {
  return new KvcError('IMAGE_URL_INVALID', message, { param });
}

/** Files of most clients are plain base64, which is decoded as it stands; what is not is unwrapped first. */
async function base64Body(body: Buffer, param: string): Promise<Buffer> {
  const { read, written } = await decodeInPlace(body);
  const plain = body.subarray(0, written);
  if (read === body.length) return plain;
  const rest = await percentDecoded(body.subarray(read), param, true);
  const decoded = await decodeInPlace(rest);
  if (decoded.read !== rest.length) throw invalid(param, 'the data URI does not hold valid base64');
  return Buffer.concat([plain, rest.subarray(0, decoded.written)]);
}

async function percentDecoded(body: Buffer, param: string, dropsSpace: boolean): Promise<Buffer> {
  const bytes = await unwrap(body, dropsSpace);
  if (!bytes) throw invalid(param, 'the data URI holds a % that is not followed by two hex digits');
  return bytes;
}

async function parseData(uri: Buffer, param: string): Promise<ImageSource> {
  const comma = uri.subarray(0, MAX_HEADER).indexOf(COMMA);
  if (comma < 0) throw invalid(param, 'the data URI has no comma before its data');
  const isBase64 = BASE64_MARK.test(uri.toString('latin1', 0, comma));
  const body = uri.subarray(comma + 1);
  const bytes = isBase64 ? await base64Body(body, param) : await percentDecoded(body, param, false);
  if (bytes.length === 0) throw new KvcError('IMAGE_INVALID', 'the data URI holds no picture', { param });
  return { kind: 'data', bytes };
}

function parseWeb(text: string, param: string): ImageSource {
  const scheme = SCHEME.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined)
    throw invalid(param, 'not a URL: pictures in base64 are written as data:image/png;base64,…');
  if (scheme !== 'http' && scheme !== 'https')
    throw invalid(param, `pictures are not read from ${scheme}: URLs`);
  if (!URL.canParse(text)) throw invalid(param, 'not a valid URL');
  const url = new URL(text);
  if (url.username !== '' || url.password !== '')
    throw invalid(param, 'URLs with a user name are not fetched');
  return { kind: 'web', url };
}

/**
 * Reads the URL of a picture. The media type that a data URI states is not believed: what the bytes are is
 * found from the bytes, so one picture is one picture in whatever wrapping.
 *
 * @param param the field that the URL stands in, for errors
 * @throws KvcError IMAGE_URL_INVALID for another scheme or a malformed URL, IMAGE_INVALID for empty data
 */
export async function parseImageUrl(url: PictureUrl, param: string): Promise<ImageSource> {
  if (typeof url !== 'string') return parseData(url, param);
  const text = url.trim();
  return DATA.test(text) ? parseData(Buffer.from(text), param) : parseWeb(text, param);
}
