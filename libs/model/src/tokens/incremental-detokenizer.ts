import type { TokenBytes } from './token-bytes.js';

/**
 * Text of one answer, token by token. A character whose bytes are spread over tokens is held back until it
 * is whole, so no delta ever holds half of one. Special tokens have no text.
 */
export class IncrementalDetokenizer {
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  /** The last bytes, as many as may belong to an unfinished character. */
  #tail: readonly number[] = [];

  constructor(private readonly tokenBytes: TokenBytes) {}

  /** Whether the tokens so far end inside a character. */
  get pending(): boolean {
    return endsInsideCharacter(this.#tail);
  }

  /** The bytes that a token stands for; undefined for a special one. */
  bytesOf(tokenId: number): Uint8Array | undefined {
    return this.tokenBytes.isSpecial(tokenId) ? undefined : this.tokenBytes.of(tokenId);
  }

  /** A token by itself as text: bytes that are not UTF-8 as `\\xNN`, a special token as its name. */
  spell(tokenId: number): string {
    return this.tokenBytes.spell(tokenId);
  }

  /** Text that has become whole with this token; empty while a character is unfinished. */
  push(tokenId: number): string {
    if (this.tokenBytes.isSpecial(tokenId)) return '';
    const bytes = this.tokenBytes.of(tokenId);
    this.#tail = [...this.#tail, ...bytes.subarray(-LONGEST_START)].slice(-LONGEST_START);
    return this.#decoder.decode(bytes, { stream: true });
  }

  /** What is left at the end of the answer: U+FFFD for a character that was cut off, else nothing. */
  flush(): string {
    this.#tail = [];
    return this.#decoder.decode();
  }
}

/** Bytes of the longest character but its last one. */
const LONGEST_START = 3;

/** Whether UTF-8 ends with the start of a character that wants more bytes. */
function endsInsideCharacter(tail: readonly number[]): boolean {
  const lead = tail.findLastIndex((byte) => byte >= 0xc0);
  if (lead < 0 || tail.slice(lead + 1).some((byte) => byte < 0x80)) return false;
  const first = tail[lead] ?? 0;
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  return tail.length - lead < length;
}
