import * as library from '@huggingface/tokenizers';
import { KvcError } from '@kvcapsule/contracts';
import type { TokenizerFile } from '../folder/config-files.js';
import { TokenizerThread } from './tokenizer-thread.js';
import type { TokenizersLibrary } from './tokenizers-library.js';

const { Tokenizer } = library as unknown as TokenizersLibrary;

/**
 * Up to this many UTF-16 units are tokenised in place: about a millisecond of work. A longer text goes to
 * the thread, whose round trip costs less than holding up every other request.
 */
const INLINE_UNITS = 1024;

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
  readonly #tokenizer: InstanceType<TokenizersLibrary['Tokenizer']>;
  readonly #thread: TokenizerThread;

  constructor(file: TokenizerFile) {
    const plain = withoutAddedTokens(file);
    try {
      this.#tokenizer = new Tokenizer(plain, {});
    } catch (cause) {
      throw new KvcError('MODEL_INVALID', 'tokenizer.json: cannot be built', { cause });
    }
    this.#thread = new TokenizerThread(plain);
  }

  encodeNow(text: string): number[] {
    return this.#tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  /** Ids of each text. Long texts are worked on by a thread, so the event loop stays free. */
  async encode(texts: readonly string[], signal?: AbortSignal): Promise<(readonly number[])[]> {
    signal?.throwIfAborted();
    const units = texts.reduce((sum, text) => sum + text.length, 0);
    if (units <= INLINE_UNITS) return texts.map((text) => this.encodeNow(text));
    return this.#thread.encode(texts, signal);
  }

  dispose(): Promise<void> {
    return this.#thread.dispose();
  }
}
