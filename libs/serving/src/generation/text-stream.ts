import { StopMatcher } from './stop-matcher.js';

/** Turns token ids into text, whole characters at a time. */
export interface Detokenizer {
  /** What a token stands for; undefined for a special one, which is no text. */
  bytesOf(tokenId: number): Uint8Array | undefined;
  /** A token by itself, as text in any case. */
  spell(tokenId: number): string;
  /** The tokens so far end inside a character. */
  readonly pending: boolean;
  /** Text that this token completes; empty while a character is incomplete. */
  push(tokenId: number): string;
  /** What is left, the tail of a cut character included. */
  flush(): string;
}

/** A token of an answer with its log-probability. */
export interface TokenLogprob {
  readonly tokenId: number;
  /** What it added to the answer before stop strings are looked for; empty while a character is incomplete. */
  readonly text: string;
  /** What the token stands for; undefined for a special token, which is no text. */
  readonly bytes: Buffer | undefined;
  readonly logprob: number;
  /** Likeliest first. */
  readonly top: LikelyToken[];
  /** The answer ends inside a character after it. */
  readonly insideCharacter: boolean;
}

export type LikelyToken = Pick<TokenLogprob, 'tokenId' | 'text' | 'bytes' | 'logprob'>;

/** Log-probabilities where a token was sampled. */
export interface TokenScores {
  readonly logprob: number;
  /** The likeliest tokens there, likeliest first. */
  readonly top: readonly { readonly tokenId: number; readonly logprob: number }[];
}

export interface SampledToken {
  readonly tokenId: number;
  /** Only where the request asks for log-probabilities. */
  readonly scores?: TokenScores;
}

/** Text that is certain. */
export interface CertainText {
  readonly text: string;
  /** A stop string was completed: nothing comes after this. */
  readonly stopped: boolean;
}

/** What a token has brought. */
export interface StreamedToken extends CertainText {
  /** The token itself, where it is scored. */
  readonly logprobs: TokenLogprob[];
}

export const NO_TEXT: CertainText = { text: '', stopped: false };

/**
 * One answer's text: detokenised, and cut at the first stop string. What may be the start of one is held back. A
 * function of the tokens alone, so that whoever has them can go on where another has ended.
 */
export class TextStream {
  readonly #detokenizer: Detokenizer;
  readonly #matcher: StopMatcher;
  /** Tokens before which stop strings are not looked for. */
  #unmatched: number;

  constructor(detokenizer: Detokenizer, stops: readonly string[], minTokens = 0) {
    this.#detokenizer = detokenizer;
    this.#matcher = new StopMatcher(stops);
    this.#unmatched = minTokens;
  }

  push({ tokenId, scores }: SampledToken): StreamedToken {
    const piece = this.#detokenizer.push(tokenId);
    const logprobs = scores ? [this.#scored(tokenId, piece, scores)] : [];
    return { ...this.#match(piece), logprobs };
  }

  /** The answer has ended by itself: everything that was held back. */
  end(): CertainText {
    const { text, stopped } = this.#matcher.push(this.#detokenizer.flush());
    return { text: stopped ? text : text + this.#matcher.held, stopped };
  }

  #scored(tokenId: number, text: string, { logprob, top }: TokenScores): TokenLogprob {
    return {
      ...{ tokenId, text, bytes: this.#bytesOf(tokenId), logprob },
      insideCharacter: this.#detokenizer.pending,
      top: top.map((likely) => ({
        ...likely,
        text: this.#detokenizer.spell(likely.tokenId),
        bytes: this.#bytesOf(likely.tokenId),
      })),
    };
  }

  #bytesOf(tokenId: number): Buffer | undefined {
    const bytes = this.#detokenizer.bytesOf(tokenId);
    return bytes && Buffer.from(bytes);
  }

  #match(piece: string): CertainText {
    if (this.#unmatched === 0) return this.#matcher.push(piece);
    this.#unmatched -= 1;
    return { text: piece, stopped: false };
  }
}
