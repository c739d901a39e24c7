/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Draws of what traffic is made of. */
export class Draws {
  constructor(private readonly random: () => number) {}

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  /** A whole number of `[least, most]`. */
  whole(least: number, most: number): number {
    return least + Math.floor(this.random() * (most - least + 1));
  }

  exponential(mean: number): number {
    return -mean * Math.log(1 - this.random());
  }

  /** Log-normal, of that median. */
  spread(median: number, sigma: number): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.random()));
    return median * Math.exp(sigma * radius * Math.cos(2 * Math.PI * this.random()));
  }

  /** Ranks from 0 on, the first the likeliest: rank r as 1 / (r + 1) ** exponent. */
  zipf(count: number, exponent: number): () => number {
    const sums: number[] = [];
    let sum = 0;
    for (let rank = 1; rank <= count; rank += 1) sums.push((sum += rank ** -exponent));
    return () => {
      const drawn = this.random() * sum;
      let [low, high] = [0, count - 1];
      while (low < high) {
        const middle = (low + high) >> 1;
        if ((sums[middle] ?? 0) > drawn) high = middle;
        else low = middle + 1;
      }
      return low;
    };
  }
}

/** Chance of a rank that `Draws.zipf` draws. */
export function zipfChance(count: number, exponent: number): (rank: number) => number {
  let sum = 0;
  for (let rank = 1; rank <= count; rank += 1) sum += rank ** -exponent;
  return (rank) => (rank + 1) ** -exponent / sum;
}

/** Chance that a number of `Draws.spread` is at most `most`. */
export function spreadWithin(most: number, median: number, sigma: number): number {
  if (most <= 0) return 0;
  const deviations = Math.log(most / median) / sigma;
  // Abramowitz and Stegun 26.2.17, within 1e-7
  const t = 1 / (1 + 0.231_641_9 * Math.abs(deviations));
  const terms = [0.319_381_53, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
  const tail =
    (terms.reduceRight((sum, term) => t * (term + sum), 0) * Math.exp(-(deviations ** 2) / 2)) /
    Math.sqrt(2 * Math.PI);
  return deviations < 0 ? tail : 1 - tail;
}
