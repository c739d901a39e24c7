import { KvcError } from '@kvcapsule/contracts';

/** Where a picture comes from: its bytes are in the URL itself, or somewhere on the web. */
export type ImageSource =
  { readonly kind: 'data'; readonly bytes: Uint8Array } | { readonly kind: 'web'; readonly url: URL };

const DATA_URI = /^data:([^,]{0,1000}),/i;
const SCHEME = /^([a-z][a-z0-9+.-]{0,20}):/i;
const BASE64_MARK = /;\s*base64\s*$/i;
const SPACE = /[\t\n\f\r ]+/g;

function invalid(param: string, message: string): KvcError {
  return new KvcError('IMAGE_URL_INVALID', message, { param });
}

/** Bytes of percent-coded text (RFC 3986); what is not coded stands for itself in UTF-8. */
function percentDecode(text: string, param: string): Buffer {
  if (!text.includes('%')) return Buffer.from(text);
  if (/%(?![0-9a-f]{2})/i.test(text))
    throw invalid(param, 'the data URI holds a % that is not followed by two hex digits');
  // In latin1 each unit is one byte, whether it was written plainly or coded.
  const plain = Buffer.from(text).toString('latin1');
  return Buffer.from(
    plain.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  );
}

function base64Decode(body: string, param: string): Buffer {
  const text = percentDecode(body, param)
    .toString('latin1')
    .replaceAll(SPACE, '')
    .replace(/={1,2}$/, '');
  // Both alphabets; a remainder of one character cannot come from whole bytes.
  if (/[^A-Za-z0-9+/_-]/.test(text) || text.length % 4 === 1)
    throw invalid(param, 'the data URI does not hold valid base64');
  return Buffer.from(text, 'base64');
}

function parseData(url: string, header: RegExpExecArray, param: string): ImageSource {
  const body = url.slice(header[0].length);
  const isBase64 = BASE64_MARK.test(header[1] ?? '');
  const bytes = isBase64 ? base64Decode(body, param) : percentDecode(body, param);
  if (bytes.length === 0) throw new KvcError('IMAGE_INVALID', 'the data URI holds no picture', { param });
  return { kind: 'data', bytes };
}

/**
 * Reads the URL of a picture. The media type that a data URI states is not believed: what the bytes are is
 * found from the bytes, so one picture is one picture in whatever wrapping.
 *
 * @param param the field that the URL stands in, for errors
 * @throws KvcError IMAGE_URL_INVALID for another scheme or a malformed URL, IMAGE_INVALID for empty data
 */
export function parseImageUrl(url: string, param: string): ImageSource {
  const text = url.trim();
  const header = DATA_URI.exec(text);
  if (header !== null) return parseData(text, header, param);
  const scheme = SCHEME.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined)
    throw invalid(param, 'not a URL: pictures in base64 are written as data:image/png;base64,…');
  if (scheme === 'data') throw invalid(param, 'the data URI has no comma before its data');
  if (scheme !== 'http' && scheme !== 'https')
    throw invalid(param, `pictures are not read from ${scheme}: URLs`);
  if (!URL.canParse(text)) throw invalid(param, 'not a valid URL');
  const parsed = new URL(text);
  if (parsed.username !== '' || parsed.password !== '')
    throw invalid(param, 'URLs with a user name are not fetched');
  return { kind: 'web', url: parsed };
}
