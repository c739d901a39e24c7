/** A share of trials with the ends of its 95 % interval. */
export interface Share {
  readonly hits: number;
  readonly trials: number;
  /** NaN-free: 0 of no trials. */
  readonly share: number;
  readonly low: number;
  readonly high: number;
}

/** The normal's 97.5 % point. */
const Z = 1.959963984540054;

/** Wilson's interval, which holds at shares near 0 and 1 and for few trials. */
export function wilsonInterval(hits: number, trials: number): Share {
  if (trials === 0) return { hits, trials, share: 0, low: 0, high: 1 };
  const share = hits / trials;
  const scale = 1 + (Z * Z) / trials;
  const centre = (share + (Z * Z) / (2 * trials)) / scale;
  const half = (Z / scale) * Math.sqrt((share * (1 - share)) / trials + (Z * Z) / (4 * trials * trials));
  const low = hits === 0 ? 0 : Math.max(0, centre - half);
  const high = hits === trials ? 1 : Math.min(1, centre + half);
  return { hits, trials, share, low, high };
}
