import type { TokenizerFile } from '../folder/tokenizer-files.js';

/** One step of a tokenizer's cutting of text into words. */
type Step = NonNullable<TokenizerFile['pre_tokenizer']>;

/** A tokenizer in three parts that do one after the other what it does as a whole. */
export interface WordSteps {
  /** Normalises a text and cuts it. */
  readonly cutting: TokenizerFile;
  /** Each piece is cut into words by this, too. */
  readonly pattern: RegExp | undefined;
  /** Tokenises one word. */
  readonly word: TokenizerFile;
}

/**
 * By which the library's `ByteLevel` cuts: GPT-2's, with JavaScript's idea of white space. All of a text is in some
 * word.
 */
const BYTE_LEVEL = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

const flag = (step: Step, name: string, otherwise: boolean) => (step[name] ?? otherwise) === true;

const stepsOf = (step: Step): readonly Step[] =>
  step.type === 'Sequence' ? ((step['pretokenizers'] ?? []) as readonly Step[]) : [step];

/**
 * Takes a tokenizer apart that tokenises words one by one, each as it would be alone: one that spells bytes as the
 * last step before merging. Undefined for any other.
 */
export function wordSteps(file: TokenizerFile): WordSteps | undefined {
  const steps = file.pre_tokenizer ? stepsOf(file.pre_tokenizer) : [];
  const last = steps.at(-1);
  if (last?.type !== 'ByteLevel' || flag(last, 'add_prefix_space', false)) return undefined;
  // What is unknown would be one token over the borders of words.
  if (file.model['fuse_unk'] === true) return undefined;
  const pretokenizers = steps.slice(0, -1);
  return {
    // Its words are not looked up, so that it needs no vocabulary.
    cutting: {
      ...file,
      pre_tokenizer: { type: 'Sequence', pretokenizers },
      model: { ...file.model, vocab: {}, merges: [] },
    },
    pattern: flag(last, 'use_regex', true) ? BYTE_LEVEL : undefined,
    word: { ...file, normalizer: null, pre_tokenizer: { ...last, use_regex: false } },
  };
}
