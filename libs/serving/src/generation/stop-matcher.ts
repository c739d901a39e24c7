/** What a piece of text has become after the stop strings were looked for. */
export interface MatchedText {
  /** May be sent: it is certainly no part of a stop string. */
  readonly text: string;
  readonly stopped: boolean;
}

/**
 * Finds stop strings in text that arrives in pieces. The stop string that is complete first ends the text, the
 * longest one of those that are complete at the same character; what could be the start of one is held back. The
 * outcome does not depend on how the text was cut into pieces.
 */
export class StopMatcher {
  readonly #stops: readonly string[];
  #held = '';

  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop.length > 0);
  }

  /** Nothing comes after the piece that completed a stop string. */
  push(piece: string): MatchedText {
    const text = this.#held + piece;
    const match = this.#firstComplete(text);
    if (match !== undefined) {
      return { text: text.slice(0, match), stopped: true };
    }
    const held = this.#longestStart(text);
    this.#held = text.slice(text.length - held);
    return { text: text.slice(0, text.length - held), stopped: false };
  }

  /** Held back: text after all when the text ends here. */
  get held(): string {
    return this.#held;
  }

  /** Where the stop string begins that is complete first. */
  #firstComplete(text: string): number | undefined {
    let best: { start: number; end: number } | undefined;
    for (const stop of this.#stops) {
      const start = text.indexOf(stop);
      if (start < 0) continue;
      const end = start + stop.length;
      if (!best || end < best.end || (end === best.end && start < best.start)) best = { start, end };
    }
    return best?.start;
  }

  /** Length of the longest end of the text with which some stop string begins. */
  #longestStart(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = stop.length - 1; length > longest; length -= 1) {
        if (text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
