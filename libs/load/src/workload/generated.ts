import { mixSeed, SeededRandom } from '@kvcapsule/testing/scenes';
import type { Conversation, PlannedTurn, Workload } from './conversation.js';
import { drawLength, type Lengths } from './lengths.js';
import { type PictureMix, Zipf } from './pictures.js';
import { textOf, wordsFor, type WordTokens } from './words.js';

/** Requests that are made up. */
export interface GeneratedMix {
  readonly promptTokens: Lengths;
  readonly outputTokens: Lengths;
  /** Tokens that all prompts begin with: a system prompt that is the same for all. */
  readonly sharedPrefixTokens: number;
  readonly turns: number;
  readonly pictures?: PictureMix;
}

/** Streams of random numbers that share a seed. */
const PREFIX_STREAM = 0x5eed;
const TEXT_SEED = 1;

export class GeneratedWorkload implements Workload {
  readonly #prefix: string;
  readonly #zipf: Zipf | undefined;

  constructor(
    readonly seed: number,
    readonly mix: GeneratedMix,
    readonly words: WordTokens,
  ) {
    const { sharedPrefixTokens, pictures } = mix;
    const perWord = { ...words, overhead: 0 };
    this.#prefix =
      sharedPrefixTokens > 0 ? `${textOf(seed, PREFIX_STREAM, wordsFor(sharedPrefixTokens, perWord))} ` : '';
    this.#zipf = pictures && pictures.distinct > 0 ? new Zipf(pictures.distinct, pictures.zipf) : undefined;
  }

  conversation(number: number): Conversation {
    const random = new SeededRandom(mixSeed(this.seed, number));
    return {
      number,
      turns: Array.from({ length: this.mix.turns }, (_, turn) => this.#turn(number, turn, random)),
    };
  }

  #turn(number: number, turn: number, random: SeededRandom): PlannedTurn {
    const { promptTokens, outputTokens, turns } = this.mix;
    const words = wordsFor(drawLength(promptTokens, random), this.words);
    const text = textOf(mixSeed(this.seed, TEXT_SEED), number * turns + turn, words);
    return {
      text: turn === 0 ? this.#prefix + text : text,
      pictures: turn === 0 ? this.#pictures(number, random) : [],
      outputTokens: drawLength(outputTokens, random),
    };
  }

  #pictures(number: number, random: SeededRandom): number[] {
    const { pictures } = this.mix;
    if (pictures === undefined || random.next() >= pictures.share) return [];
    return Array.from(
      { length: pictures.perRequest },
      (_, at) => this.#zipf?.draw(random.next()) ?? number * pictures.perRequest + at,
    );
  }
}
