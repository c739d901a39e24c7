import { mixSeed, SeededRandom } from '@kvcapsule/testing/scenes';

/** Common words, which most vocabularies hold as one token each. */
const WORDS = (
  'about above after again air all along also always animal answer any area around ask away back base because been ' +
  'before began begin being below best better between big bird black blue boat body book both box boy bring brought ' +
  'build built busy call came can car care carry change city class clear close cold color come common cook could ' +
  'country course cross cut dark day deep did direct door down draw drive dry during each early earth east eat end ' +
  'enough even ever every example eye face fact fall family far farm fast father feel feet few field figure fill find ' +
  'fine fire first fish five fly follow food form found four free friend from front full game gave girl give gold good'
).split(' ');

/** How many words make how many tokens of a prompt, as the server counts them. */
export interface WordTokens {
  readonly tokensPerWord: number;
  /** Tokens of a prompt without words: the template's. */
  readonly overhead: number;
}

export const ONE_EACH: WordTokens = { tokensPerWord: 1, overhead: 0 };

/** Least words: a prompt is never empty. */
export const wordsFor = (tokens: number, { tokensPerWord, overhead }: WordTokens): number =>
  Math.max(1, Math.round((tokens - overhead) / tokensPerWord));

/** So many words, the same for the same seed and stream. */
export function textOf(seed: number, stream: number, words: number): string {
  const random = new SeededRandom(mixSeed(seed, stream));
  let text = '';
  for (let at = 0; at < words; at += 1) text += at === 0 ? random.pick(WORDS) : ` ${random.pick(WORDS)}`;
  return text;
}
