import * as library from '@huggingface/tokenizers';
import { KvcError } from '@kvcapsule/contracts';
import type { TokenizerFile } from '../folder/tokenizer-files.js';
import type { TokenizersLibrary } from './tokenizers-library.js';

const { Tokenizer } = library as unknown as TokenizersLibrary;

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

/** Tokenises ordinary text; special tokens spelled in it come out as letters. */
export class TextTokenizer {
  /** What another thread makes the same tokenizer of. */
  readonly file: TokenizerFile;
  readonly #tokenizer: InstanceType<TokenizersLibrary['Tokenizer']>;

  constructor(file: TokenizerFile) {
    this.file = withoutAddedTokens(file);
    try {
      this.#tokenizer = new Tokenizer(this.file, {});
    } catch (cause) {
      throw new KvcError('MODEL_INVALID', 'tokenizer.json: cannot be built', { cause });
    }
  }

  encode(text: string): readonly number[] {
    return this.#tokenizer.encode(text, { add_special_tokens: false }).ids;
  }
}
