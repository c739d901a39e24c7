import { KvcError } from '@kvcapsule/contracts';
import type { SeededRandom } from '@kvcapsule/testing/scenes';

/** How long prompts or answers are, in tokens. */
export type Lengths =
  | { readonly kind: 'fixed'; readonly tokens: number }
  | { readonly kind: 'uniform'; readonly least: number; readonly most: number }
  | { readonly kind: 'normal'; readonly mean: number; readonly deviation: number }
  /** `sigma` is the deviation of the logarithm; long tails, as prompts of people have them. */
  | { readonly kind: 'lognormal'; readonly median: number; readonly sigma: number };

export const LONGEST_TOKENS = 1 << 20;

const FORMS = 'N, LEAST-MOST, normal:MEAN:DEVIATION or lognormal:MEDIAN:SIGMA';

/**
 * Reads `128`, `64-512`, `normal:256:64`, `lognormal:256:0.8`.
 *
 * @throws KvcError CONFIG_INVALID naming the flag
 */
export function parseLengths(flag: string, text: string): Lengths {
  const found = readForm(text);
  if (found === undefined || !isBounded(found))
    throw new KvcError(
      'CONFIG_INVALID',
      `${flag}: ${text} is not ${FORMS}, of 1 to ${LONGEST_TOKENS} tokens`,
    );
  return found;
}

function readForm(text: string): Lengths | undefined {
  const fixed = /^(\d+)$/.exec(text);
  if (fixed) return { kind: 'fixed', tokens: Number(fixed[1]) };
  const uniform = /^(\d+)-(\d+)$/.exec(text);
  if (uniform) return { kind: 'uniform', least: Number(uniform[1]), most: Number(uniform[2]) };
  const drawn = /^(normal|lognormal):(\d+):(\d+(?:\.\d+)?)$/.exec(text);
  if (!drawn) return undefined;
  const [centre, width] = [Number(drawn[2]), Number(drawn[3])];
  return drawn[1] === 'normal'
    ? { kind: 'normal', mean: centre, deviation: width }
    : { kind: 'lognormal', median: centre, sigma: width };
}

function isBounded(lengths: Lengths): boolean {
  const isLength = (tokens: number) => tokens >= 1 && tokens <= LONGEST_TOKENS;
  if (lengths.kind === 'fixed') return isLength(lengths.tokens);
  if (lengths.kind === 'uniform')
    return isLength(lengths.least) && isLength(lengths.most) && lengths.least <= lengths.most;
  if (lengths.kind === 'normal') return isLength(lengths.mean) && lengths.deviation <= LONGEST_TOKENS;
  return isLength(lengths.median) && lengths.sigma <= 5;
}

/** A whole number of tokens, 1 or more. */
export function drawLength(lengths: Lengths, random: SeededRandom): number {
  const tokens = Math.round(draw(lengths, random));
  return Math.min(LONGEST_TOKENS, Math.max(1, tokens));
}

function draw(lengths: Lengths, random: SeededRandom): number {
  if (lengths.kind === 'fixed') return lengths.tokens;
  if (lengths.kind === 'uniform') return random.integer(lengths.least, lengths.most);
  if (lengths.kind === 'normal') return lengths.mean + random.gaussian(lengths.deviation);
  return lengths.median * Math.exp(random.gaussian(lengths.sigma));
}
