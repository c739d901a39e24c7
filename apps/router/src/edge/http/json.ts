import { isUtf8 } from 'node:buffer';
import { KvcError } from '@kvcapsule/contracts/errors';
import { JsonThread, type Verdict } from './json-thread.js';

/** Up to this many bytes are parsed in place: at most a few milliseconds, whatever they hold. */
const INLINE_BYTES = 64 * 1024;

const MIB = 1024 * 1024;
/** Of a body without its pictures' data. */
const MAX_TEXT_BYTES = 16 * MIB;

const notUtf8 = () => new KvcError('INVALID_JSON', 'The body is not valid UTF-8.');
const notJson = () => new KvcError('INVALID_JSON', 'The body is not valid JSON.');

function parseHere(text: Buffer): unknown {
  if (!isUtf8(text)) throw notUtf8();
  try {
    return JSON.parse(text.toString('utf8'));
  } catch {
    throw notJson();
  }
}

function valueOf(verdict: Verdict): unknown {
  if ('value' in verdict) return verdict.value;
  switch (verdict.refused) {
    case 'utf8':
      throw notUtf8();
    case 'json':
      throw notJson();
    case 'values': {
      const message = `The body has more than ${verdict.maxValues} values: messages, parts, texts and numbers.`;
      throw new KvcError(
        'INVALID_REQUEST',
        message,
        verdict.param === undefined ? {} : { param: verdict.param },
      );
    }
  }
}

/** Parses bodies: small ones in place, others in a thread, which answers only what is small enough to be taken over. */
export class JsonParser {
  readonly #thread: JsonThread;

  /** @param waitMs the longest that a large body may take, those before it included */
  constructor(waitMs: number) {
    this.#thread = new JsonThread(waitMs);
  }

  /** Rejects with `INVALID_JSON`, `INVALID_REQUEST` (too many values), `REQUEST_TOO_LARGE` or `NO_CAPACITY`. */
  async parse(text: Buffer): Promise<unknown> {
    if (text.length <= INLINE_BYTES) return parseHere(text);
    if (text.length > MAX_TEXT_BYTES) {
      const limit = `${MAX_TEXT_BYTES / MIB} MiB`;
      const message = `Without its pictures the body is larger than this server takes: at most ${limit}.`;
      throw new KvcError('REQUEST_TOO_LARGE', message);
    }
    return valueOf(await this.#thread.parse(text));
  }

  dispose(): Promise<void> {
    return this.#thread.dispose();
  }
}
