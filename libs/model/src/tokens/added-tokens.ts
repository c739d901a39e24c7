import { KvcError } from '@kvcapsule/contracts';
import type { AddedToken } from '../folder/tokenizer-files.js';

/** A stretch of a rendered prompt: a token that the template put there, or the text between two such tokens. */
export type PromptPiece = { readonly tokenId: number } | { readonly text: string };

const escapeRegExp = (text: string) => text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');

/** Cuts text at added tokens, leftmost and longest first, as the tokenizers library does. */
export class AddedTokenSplitter {
  readonly #pattern: RegExp | undefined;
  readonly #byContent: ReadonlyMap<string, AddedToken>;

  constructor(tokens: readonly AddedToken[]) {
    this.#byContent = new Map(tokens.map((token) => [token.content, token]));
    const contents = [...this.#byContent.keys()].sort((a, b) => b.length - a.length);
    this.#pattern = contents.length === 0 ? undefined : new RegExp(contents.map(escapeRegExp).join('|'), 'g');
  }

  split(prompt: string): PromptPiece[] {
    const pieces: PromptPiece[] = [];
    let start = 0;
    let stripStart = false;
    const pushText = (end: number, stripEnd: boolean) => {
      let text = prompt.slice(start, end);
      if (stripStart) text = text.trimStart();
      if (stripEnd) text = text.trimEnd();
      if (text !== '') pieces.push({ text });
    };
    const pattern = this.#pattern;
    // Not `matchAll`, which compiles a copy of the pattern for each prompt.
    if (pattern) pattern.lastIndex = 0;
    for (let match = pattern?.exec(prompt); pattern && match; match = pattern.exec(prompt)) {
      const token = this.#byContent.get(match[0]);
      if (token === undefined) continue;
      pushText(match.index, token.lstrip);
      pieces.push({ tokenId: token.id });
      start = match.index + match[0].length;
      stripStart = token.rstrip;
    }
    pushText(prompt.length, false);
    return pieces;
  }
}

const PRIVATE_USE = [
  [0xe000, 0xf8ff],
  [0xf0000, 0xffffd],
] as const;

/** Private-use characters that none of the texts holds. */
function* unusedCharacters(texts: readonly string[]): Generator<string, undefined> {
  const used = new Set(texts.flatMap((text) => text.match(/\p{Co}/gu) ?? []));
  for (const [first, last] of PRIVATE_USE)
    for (let code = first; code <= last; code += 1) {
      const character = String.fromCodePoint(code);
      if (!used.has(character)) yield character;
    }
  return undefined;
}

/**
 * Hides in what people wrote whatever could be taken for an added token, by putting a private-use character
 * for each character that begins one. Tokens that begin with white space stand for layout, not for
 * structure, and templates trim white space: those are left alone.
 */
export class TokenTextGuard {
  readonly #hidden: ReadonlyMap<string, string>;
  readonly #shown: ReadonlyMap<string, string>;
  readonly #hidePattern: RegExp | undefined;
  readonly #showPattern: RegExp | undefined;

  /** @param texts everything that will be hidden; the stand-ins are characters that none of it holds */
  constructor(tokens: readonly AddedToken[], texts: readonly string[]) {
    const starts = [
      ...new Set(tokens.map(({ content }) => String.fromCodePoint(content.codePointAt(0) ?? 0))),
    ].filter((start) => start.trim() !== '');
    const unused = unusedCharacters(texts);
    const pairs = starts.map((start) => {
      const standIn = unused.next().value;
      if (standIn === undefined)
        throw new KvcError('INVALID_REQUEST', 'the messages hold every private-use character', {
          param: 'messages',
        });
      return [start, standIn] as const;
    });
    this.#hidden = new Map(pairs);
    this.#shown = new Map(pairs.map(([start, standIn]) => [standIn, start]));
    this.#hidePattern = TokenTextGuard.#anyOf(this.#hidden.keys());
    this.#showPattern = TokenTextGuard.#anyOf(this.#shown.keys());
  }

  static #anyOf(characters: Iterable<string>): RegExp | undefined {
    const alternatives = [...characters].map(escapeRegExp);
    return alternatives.length === 0 ? undefined : new RegExp(alternatives.join('|'), 'gu');
  }

  hide(text: string): string {
    return this.#hidePattern
      ? text.replaceAll(this.#hidePattern, (found) => this.#hidden.get(found) ?? found)
      : text;
  }

  show(text: string): string {
    return this.#showPattern
      ? text.replaceAll(this.#showPattern, (found) => this.#shown.get(found) ?? found)
      : text;
  }
}

/**
 * The guards of a tokenizer. Texts without private-use characters, nearly all, share one: to make a guard takes
 * longer than to hide and show a line of text.
 */
export class TokenTextGuards {
  readonly #plain: TokenTextGuard;

  constructor(private readonly tokens: readonly AddedToken[]) {
    this.#plain = new TokenTextGuard(tokens, []);
  }

  /** @throws KvcError INVALID_REQUEST when the texts hold every private-use character */
  for(texts: readonly string[]): TokenTextGuard {
    const isPlain = texts.every((text) => !/\p{Co}/u.test(text));
    return isPlain ? this.#plain : new TokenTextGuard(this.tokens, texts);
  }
}
