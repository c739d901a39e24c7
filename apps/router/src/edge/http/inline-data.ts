import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** Shorter data URIs stay in the body: they cost the parser microseconds. */
const MIN_BYTES = 4 * 1024;
/** White space that writers of JSON put around a colon. */
const MAX_SPACE = 64;

const MARK = Buffer.from('"data:');
const URL_KEY = Buffer.from('"url"');
const QUOTE = 0x22;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const isSpace = (byte: number | undefined) =>
  byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

function skipSpaceBack(body: Buffer, end: number): number {
  let at = end;
  while (at > end - MAX_SPACE && isSpace(body[at - 1])) at -= 1;
  return at;
}

/** Whether the string that begins here is the value of a key `url`. Inside a string the key's quotes had backslashes. */
function isUrlValue(body: Buffer, at: number): boolean {
  const colon = skipSpaceBack(body, at) - 1;
  if (body[colon] !== COLON) return false;
  const keyEnd = skipSpaceBack(body, colon);
  const keyStart = keyEnd - URL_KEY.length;
  return keyStart > 0 && body[keyStart - 1] !== BACKSLASH && URL_KEY.equals(body.subarray(keyStart, keyEnd));
}

/**
 * The data URIs of a body's pictures as the bytes they came in. As strings of the parsed body, 64 MB of them would
 * hold the event loop up for 350 ms; left out, they cost a search at the speed of memory.
 */
export class InlineData {
  /** Nobody who writes a body can know it, and so nobody can refer to another place of it. */
  #name = '';
  readonly #uris: Buffer[] = [];

  /** The body with a short name in the place of each data URI that was taken out. */
  take(body: Buffer): Buffer {
    const pieces: Buffer[] = [];
    let kept = 0;
    let backslash = body.indexOf(BACKSLASH);
    for (let at = body.indexOf(MARK); at >= 0; at = body.indexOf(MARK, at)) {
      const start = at + 1;
      const end = body.indexOf(QUOTE, start);
      if (end < 0) break;
      if (backslash >= 0 && backslash < start) backslash = body.indexOf(BACKSLASH, start);
      const isPlain = backslash < 0 || backslash > end;
      if (isPlain && end - start >= MIN_BYTES && isUrlValue(body, at)) {
        pieces.push(body.subarray(kept, start), this.#keep(body.subarray(start, end)));
        kept = end;
      }
      at = end;
    }
    return pieces.length === 0 ? body : Buffer.concat([...pieces, body.subarray(kept)]);
  }

  /** The data URI that stands behind a URL of the parsed body; undefined for a URL that is one. */
  behind(url: string): Buffer | undefined {
    const [name, index] = url.split('/', 2);
    return this.#name !== '' && name === `data:${this.#name}` ? this.#uris[Number(index)] : undefined;
  }

  #keep(uri: Buffer): Buffer {
    this.#name ||= randomUUID();
    this.#uris.push(uri);
    return Buffer.from(`data:${this.#name}/${this.#uris.length - 1}`);
  }
}

const ofRequests = new WeakMap<IncomingMessage, InlineData>();

export function keepInlineData(request: IncomingMessage, data: InlineData): void {
  ofRequests.set(request, data);
}

export function inlineDataOf(request: IncomingMessage): InlineData | undefined {
  return ofRequests.get(request);
}
