import { type MatchedText, StopMatcher } from './stop-matcher.js';

/** Turns token ids into text, whole characters at a time. */
export interface Detokenizer {
  /** Text that this token completes; empty while a character is incomplete. */
  push(tokenId: number): string;
  /** What is left, the tail of a cut character included. */
  flush(): string;
}

/** One answer's text: detokenised, and cut at the first stop string. */
export class TextStream {
  readonly #detokenizer: Detokenizer;
  readonly #matcher: StopMatcher;

  constructor(detokenizer: Detokenizer, stops: readonly string[]) {
    this.#detokenizer = detokenizer;
    this.#matcher = new StopMatcher(stops);
  }

  push(tokenId: number): MatchedText {
    return this.#matcher.push(this.#detokenizer.push(tokenId));
  }

  /** The answer has ended by itself: everything that was held back. */
  end(): MatchedText {
    const last = this.#matcher.push(this.#detokenizer.flush());
    return last.stopped ? last : { text: last.text + this.#matcher.flush(), stopped: false };
  }
}
