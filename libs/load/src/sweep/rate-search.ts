import { type Share, wilsonInterval } from '../statistics/index.js';

export type Verdict = 'holds' | 'fails' | 'unresolved';

export interface RateSearchOptions {
  readonly startPerSecond: number;
  /** Share of requests that have to be good. */
  readonly target: number;
  /** The search ends when the lowest rate that does not hold is so much above the highest that does, as 0.1. */
  readonly precision: number;
  readonly leastPerSecond: number;
  readonly mostPerSecond: number;
  /** Trials of one rate before it is left unresolved. */
  readonly trials: number;
}

/** What is known of one rate, all of its trials together. */
export interface RateResult {
  readonly perSecond: number;
  readonly share: Share;
  readonly trials: number;
  readonly verdict: Verdict;
}

/** Where the highest rate that holds lies. */
export interface RateBounds {
  /** Highest that holds; absent when none did. */
  readonly holds?: number;
  /** Lowest above it that does not, or is not known to; absent when all did. */
  readonly above?: number;
  readonly results: readonly RateResult[];
}

/** The least number of trials by which a rate can hold at all: all good, and the interval still has to reach the target. */
export function leastTrials(target: number): number {
  for (let trials = 1; ; trials += 1) if (wilsonInterval(trials, trials).low >= target) return trials;
}

/** Said of the interval and not of the share alone: with few samples nothing is. */
export function verdictOf({ low, high }: Share, target: number): Verdict {
  if (low >= target) return 'holds';
  return high < target ? 'fails' : 'unresolved';
}

/**
 * Looks for the highest rate that holds: doubles until one does not, or halves until one does, and then halves the
 * distance (on a logarithmic scale). A rate that is not resolved is asked again, its trials together, and then counts as
 * one that does not hold, because nobody would run a service on it; results tell both apart.
 */
export class RateSearch {
  readonly #results = new Map<number, RateResult>();

  constructor(readonly options: RateSearchOptions) {}

  /** The next rate to try; absent when the search is over. */
  next(): number | undefined {
    const { startPerSecond, leastPerSecond, mostPerSecond, precision } = this.options;
    const again = [...this.#results.values()].find((result) => this.#isOpen(result));
    if (again) return again.perSecond;
    const { holds, above } = this.bounds();
    if (holds === undefined && above === undefined) return startPerSecond;
    if (holds === undefined) return lowerOf(above ?? startPerSecond, leastPerSecond);
    if (above === undefined) return holds * 2 <= mostPerSecond ? holds * 2 : undefined;
    return above / holds <= 1 + precision ? undefined : Math.sqrt(holds * above);
  }

  /** What a trial at a rate has come to. */
  take(perSecond: number, hits: number, trials: number): RateResult {
    const before = this.#results.get(perSecond);
    const share = wilsonInterval(hits + (before?.share.hits ?? 0), trials + (before?.share.trials ?? 0));
    const verdict = verdictOf(share, this.options.target);
    const result = { perSecond, share, trials: (before?.trials ?? 0) + 1, verdict };
    this.#results.set(perSecond, result);
    return result;
  }

  bounds(): RateBounds {
    const results = [...this.#results.values()].sort((a, b) => a.perSecond - b.perSecond);
    const missed = results.find(({ verdict }) => verdict !== 'holds');
    // a rate that holds above one that does not was luck, or the other was not
    const holding = results.filter(
      ({ verdict, perSecond }) => verdict === 'holds' && perSecond < (missed?.perSecond ?? Infinity),
    );
    const [holds, above] = [holding.at(-1)?.perSecond, missed?.perSecond];
    return { ...(holds !== undefined && { holds }), ...(above !== undefined && { above }), results };
  }

  #isOpen({ verdict, trials }: RateResult): boolean {
    return verdict === 'unresolved' && trials < this.options.trials;
  }
}

const lowerOf = (perSecond: number, least: number): number | undefined =>
  perSecond / 2 >= least ? perSecond / 2 : undefined;
