import * as library from '@huggingface/tokenizers';
import { KvcError } from '@kvcapsule/contracts';
import type { TokenizerFile } from '../folder/tokenizer-files.js';
import type { TokenizersLibrary } from './tokenizers-library.js';
import { type WordSteps, wordSteps } from './words.js';

const { Tokenizer } = library as unknown as TokenizersLibrary;
type LibraryTokenizer = InstanceType<TokenizersLibrary['Tokenizer']>;

/** The tokenizer without its added tokens: to it, every spelling of a special token is plain text. */
function withoutAddedTokens(tokenizer: TokenizerFile): TokenizerFile {
  const added = new Set(tokenizer.added_tokens.map(({ content }) => content));
  const vocab = Object.entries(tokenizer.model.vocab).filter(([token]) => !added.has(token));
  return {
    ...tokenizer,
    added_tokens: [],
    post_processor: null,
    model: { ...tokenizer.model, vocab: Object.fromEntries(vocab) },
  };
}

const encodeAll = (tokenizer: LibraryTokenizer, text: string): readonly number[] =>
  tokenizer.encode(text, { add_special_tokens: false }).ids;

/** Words that are kept with their tokens, and the longest of them in UTF-16 units: two megabytes at most. */
const KEPT_WORDS = 10_000;
const KEPT_WORD_UNITS = 32;

/**
 * Tokenises word by word and remembers the words: the library spells each byte of a text out before it looks for words
 * that it has seen, which is two thirds of its time. Words are forgotten all at once when there are too many, which
 * costs less than to keep them in the order of their use.
 */
class WordTokenizer {
  readonly #known = new Map<string, readonly number[]>();
  readonly #cutting: LibraryTokenizer;
  readonly #pattern: RegExp | undefined;
  readonly #word: LibraryTokenizer;

  constructor({ cutting, pattern, word }: WordSteps) {
    this.#cutting = new Tokenizer(cutting, {});
    this.#pattern = pattern;
    this.#word = new Tokenizer(word, {});
  }

  encode(text: string): readonly number[] {
    const ids: number[] = [];
    for (const piece of this.#pieces(text))
      for (const word of this.#pattern ? (piece.match(this.#pattern) ?? []) : [piece])
        for (const id of this.#idsOf(word)) ids.push(id);
    return ids;
  }

  #pieces(text: string): readonly string[] {
    const { normalizer, pre_tokenizer: cut } = this.#cutting;
    const plain = normalizer ? normalizer(text) : text;
    return cut ? cut(plain, { section_index: 0 }) : [plain];
  }

  #idsOf(word: string): readonly number[] {
    const known = this.#known.get(word);
    if (known) return known;
    const ids = encodeAll(this.#word, word);
    if (word.length > KEPT_WORD_UNITS) return ids;
    if (this.#known.size >= KEPT_WORDS) this.#known.clear();
    // A string of its own: a slice would keep the text alive that it was cut from.
    this.#known.set(Buffer.from(word, 'utf16le').toString('utf16le'), ids);
    return ids;
  }
}

/** Tokenises ordinary text; special tokens spelled in it come out as letters. */
export class TextTokenizer {
  /** What another thread makes the same tokenizer of. */
  readonly file: TokenizerFile;
  readonly #encode: (text: string) => readonly number[];

  constructor(file: TokenizerFile) {
    this.file = withoutAddedTokens(file);
    try {
      this.#encode = encoderOf(this.file);
    } catch (cause) {
      throw new KvcError('MODEL_INVALID', 'tokenizer.json: cannot be built', { cause });
    }
  }

  encode(text: string): readonly number[] {
    return this.#encode(text);
  }
}

function encoderOf(file: TokenizerFile): (text: string) => readonly number[] {
  const steps = wordSteps(file);
  if (steps) {
    const words = new WordTokenizer(steps);
    return (text) => words.encode(text);
  }
  const whole = new Tokenizer(file, {});
  return (text) => encodeAll(whole, text);
}
