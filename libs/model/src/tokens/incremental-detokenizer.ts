import type { TokenBytes } from './token-bytes.js';

/**
 * Text of one answer, token by token. A character whose bytes are spread over tokens is held back until it
 * is whole, so no delta ever holds half of one. Special tokens have no text.
 */
export class IncrementalDetokenizer {
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(private readonly tokenBytes: TokenBytes) {}

  /** Text that has become whole with this token; empty while a character is unfinished. */
  push(tokenId: number): string {
    if (this.tokenBytes.isSpecial(tokenId)) return '';
    return this.#decoder.decode(this.tokenBytes.of(tokenId), { stream: true });
  }

  /** What is left at the end of the answer: U+FFFD for a character that was cut off, else nothing. */
  flush(): string {
    return this.#decoder.decode();
  }
}
