import type { TokenLogprob } from '@kvcapsule/contracts/worker';

/** Text that may be sent, and the scored tokens whose texts it joins. */
export interface ScoredPiece {
  readonly text: string;
  readonly logprobs: readonly TokenLogprob[];
}

/** Tokens that share a character stay together; `open` while their last one is incomplete. */
interface Group {
  readonly tokens: TokenLogprob[];
  open: boolean;
}

/**
 * Brings the text of an answer and its scored tokens together: workers tell a token's scores as they draw it, and its
 * text once it is certain. Each leaves with the other, whichever worker told it.
 */
export class ScoredText {
  readonly #groups: Group[] = [];
  /** Text that waits for the end of its group. */
  #passed = '';

  /** The next tokens, and the text that has become certain with them. */
  push(text: string, tokens: readonly TokenLogprob[]): ScoredPiece {
    for (const token of tokens) this.#group(token);
    this.#passed += text;
    return this.#release();
  }

  /** The answer ends with this text: tokens are cut to it. */
  end(text: string): ScoredPiece {
    this.#passed += text;
    const tail = this.#passed.slice(this.#groups.reduce((sum, group) => sum + unitsOf(group), 0));
    if (tail !== '') this.#giveTail(tail);
    const { text: whole, logprobs } = this.#release();
    const cut = cutTo(this.#groups[0]?.tokens ?? [], this.#passed);
    return { text: whole + this.#passed, logprobs: [...logprobs, ...cut] };
  }

  #group(token: TokenLogprob): void {
    const last = this.#groups.at(-1);
    const open = token.insideCharacter;
    if (last?.open) {
      last.tokens.push(token);
      last.open = open;
    } else {
      this.#groups.push({ tokens: [token], open });
    }
  }

  /** A cut character's replacement is the text of the token that began it. */
  #giveTail(tail: string): void {
    const group = this.#groups.at(-1);
    if (!group) return;
    const at = group.tokens.findLastIndex(({ bytes }) => bytes !== undefined);
    const token = group.tokens[at];
    if (token) group.tokens[at] = { ...token, text: token.text + tail };
    group.open = false;
  }

  /** Takes out the groups whose text has passed whole. */
  #release(): ScoredPiece {
    const logprobs: TokenLogprob[] = [];
    let units = 0;
    for (let group = this.#groups[0]; group && !group.open; group = this.#groups[0]) {
      const more = unitsOf(group);
      if (units + more > this.#passed.length) break;
      units += more;
      logprobs.push(...group.tokens);
      this.#groups.shift();
    }
    const text = this.#passed.slice(0, units);
    this.#passed = this.#passed.slice(units);
    return { text, logprobs };
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
    const bytes = token.bytes?.subarray(0, bytesLeft);
    result.push({ ...token, text: text.slice(0, token.text.length), bytes });
    text = text.slice(token.text.length);
    bytesLeft -= bytes?.length ?? 0;
  }
  return result;
}
