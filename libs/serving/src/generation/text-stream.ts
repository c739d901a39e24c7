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
  /** The part of the answer's text that this token completed; empty while a character is incomplete. */
  readonly text: string;
  /** What the token stands for; undefined for a special token, which is no text. */
  readonly bytes: Buffer | undefined;
  readonly logprob: number;
  /** Likeliest first. */
  readonly top: LikelyToken[];
}

export type LikelyToken = Omit<TokenLogprob, 'top'>;

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

/** Text that may be sent, and the scored tokens whose texts it joins. */
export interface StreamedText {
  readonly text: string;
  readonly logprobs: TokenLogprob[];
  /** A stop string was completed: nothing comes after this. */
  readonly stopped: boolean;
}

/** Tokens that share a character stay together; `open` while their last one is incomplete. */
interface Group {
  readonly tokens: TokenLogprob[];
  open: boolean;
}

export const NO_TEXT: StreamedText = { text: '', logprobs: [], stopped: false };

/**
 * One answer's text: detokenised, and cut at the first stop string. Scored tokens leave with the text that they
 * made: while that is held back, so are they.
 */
export class TextStream {
  readonly #detokenizer: Detokenizer;
  readonly #matcher: StopMatcher;
  /** Tokens before which stop strings are not looked for. */
  #unmatched: number;
  readonly #groups: Group[] = [];
  /** Text past the matcher that waits for the end of its group. */
  #passed = '';

  constructor(detokenizer: Detokenizer, stops: readonly string[], minTokens = 0) {
    this.#detokenizer = detokenizer;
    this.#matcher = new StopMatcher(stops);
    this.#unmatched = minTokens;
  }

  push({ tokenId, scores }: SampledToken): StreamedText {
    const piece = this.#detokenizer.push(tokenId);
    const { text, stopped } = this.#match(piece);
    if (!scores) return { ...NO_TEXT, text, stopped };
    this.#group({
      tokenId,
      text: piece,
      bytes: this.#bytesOf(tokenId),
      logprob: scores.logprob,
      top: scores.top.map((likely) => ({
        ...likely,
        text: this.#detokenizer.spell(likely.tokenId),
        bytes: this.#bytesOf(likely.tokenId),
      })),
    });
    this.#passed += text;
    return this.#release(stopped);
  }

  /** The answer has ended by itself: everything that was held back. */
  end(): StreamedText {
    const tail = this.#detokenizer.flush();
    const last = this.#matcher.push(tail);
    const text = last.stopped ? last.text : last.text + this.#matcher.held;
    const group = this.#groups.at(-1);
    if (!group) return { ...NO_TEXT, text, stopped: last.stopped };
    // a cut character's replacement is the text of the token that began it
    const at = group.tokens.findLastIndex(({ bytes }) => bytes !== undefined);
    const token = group.tokens[at];
    if (token) group.tokens[at] = { ...token, text: token.text + tail };
    group.open = false;
    this.#passed += text;
    return this.#release(last.stopped);
  }

  #bytesOf(tokenId: number): Buffer | undefined {
    const bytes = this.#detokenizer.bytesOf(tokenId);
    return bytes && Buffer.from(bytes);
  }

  #match(piece: string): { readonly text: string; readonly stopped: boolean } {
    if (this.#unmatched === 0) return this.#matcher.push(piece);
    this.#unmatched -= 1;
    return { text: piece, stopped: false };
  }

  #group(token: TokenLogprob): void {
    const last = this.#groups.at(-1);
    const open = this.#detokenizer.pending;
    if (last?.open) {
      last.tokens.push(token);
      last.open = open;
    } else {
      this.#groups.push({ tokens: [token], open });
    }
  }

  /** Takes out the groups whose text has passed whole; at a stop also the part of one that has. */
  #release(stopped: boolean): StreamedText {
    const logprobs: TokenLogprob[] = [];
    let text = '';
    for (let group = this.#groups[0]; group; group = this.#groups[0]) {
      const units = unitsOf(group);
      if (units > this.#passed.length || (group.open && !stopped)) break;
      text += this.#passed.slice(0, units);
      this.#passed = this.#passed.slice(units);
      logprobs.push(...group.tokens);
      this.#groups.shift();
    }
    if (!stopped) return { text, logprobs, stopped };
    const cut = this.#groups[0];
    if (cut) logprobs.push(...cutTo(cut.tokens, this.#passed));
    return { text: text + this.#passed, logprobs, stopped };
  }
}

const unitsOf = ({ tokens }: Group): number => tokens.reduce((sum, { text }) => sum + text.length, 0);

/** The tokens of a group of which only this beginning of their text is kept. */
function cutTo(tokens: readonly TokenLogprob[], kept: string): TokenLogprob[] {
  const result: TokenLogprob[] = [];
  let text = kept;
  let bytesLeft = Buffer.byteLength(kept);
  for (const token of tokens) {
    if (bytesLeft === 0) break;
    const bytes = token.bytes?.slice(0, bytesLeft);
    result.push({ ...token, text: text.slice(0, token.text.length), bytes });
    text = text.slice(token.text.length);
    bytesLeft -= bytes?.length ?? 0;
  }
  return result;
}
