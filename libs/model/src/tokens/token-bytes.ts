import { isUtf8 } from 'node:buffer';
import { KvcError } from '@kvcapsule/contracts';
import type { TokenizerFile } from '../folder/tokenizer-files.js';

/** The byte-level alphabet: a printable character for each byte value (GPT-2's table), turned round. */
function byteOfCharacter(): ReadonlyMap<string, number> {
  const table = new Map<string, number>();
  let shifted = 256;
  for (let byte = 0; byte < 256; byte += 1) {
    const isPrintable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    table.set(String.fromCodePoint(isPrintable ? byte : shifted), byte);
    if (!isPrintable) shifted += 1;
  }
  return table;
}

const LENIENT = new TextDecoder('utf-8', { ignoreBOM: true });
const REPLACEMENT = '\uFFFD';

function spellByte(byte: number): string {
  const isPrintable = byte >= 0x20 && byte < 0x7f;
  return isPrintable ? String.fromCodePoint(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
}

const BYTES = byteOfCharacter();
const NO_BYTES = new Uint8Array(0);

function bytesOf(token: string): Uint8Array {
  return Uint8Array.from(token, (character) => {
    const byte = BYTES.get(character);
    if (byte === undefined)
      throw new KvcError(
        'MODEL_INVALID',
        'tokenizer.json: model.vocab: a token is not in the byte-level alphabet',
      );
    return byte;
  });
}

/** The bytes each token stands for in the answer's text. */
export class TokenBytes {
  readonly #bytes: readonly (Uint8Array | undefined)[];
  readonly #special: ReadonlySet<number>;
  /** Length in bytes of the longest ordinary token: no text makes fewer tokens than its bytes over this. */
  readonly longestTokenBytes: number;

  constructor(tokenizer: TokenizerFile) {
    const added = new Set(tokenizer.added_tokens.map(({ content }) => content));
    const bytes: Uint8Array[] = [];
    for (const [token, id] of Object.entries(tokenizer.model.vocab))
      if (!added.has(token)) bytes[id] = bytesOf(token);
    this.longestTokenBytes = bytes.reduce((longest, token) => Math.max(longest, token.length), 1);
    for (const { id, content } of tokenizer.added_tokens) bytes[id] = new TextEncoder().encode(content);
    this.#bytes = bytes;
    this.#special = new Set(tokenizer.added_tokens.filter(({ special }) => special).map(({ id }) => id));
  }

  /** Bytes of a token as its own spelling; empty for an id that the tokenizer does not know. */
  of(tokenId: number): Uint8Array {
    return this.#bytes[tokenId] ?? NO_BYTES;
  }

  /** A token as text: a special one as its name, bytes that are no characters by themselves as `\\xNN`. */
  spell(tokenId: number): string {
    const bytes = this.of(tokenId);
    const text = LENIENT.decode(bytes);
    if (!text.includes(REPLACEMENT)) return text;
    return isUtf8(bytes) ? text : Array.from(bytes, spellByte).join('');
  }

  isSpecial(tokenId: number): boolean {
    return this.#special.has(tokenId);
  }
}
