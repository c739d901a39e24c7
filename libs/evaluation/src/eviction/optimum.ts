import type { Piece, Trace } from './trace.js';

/** Keeping content from one request to the next that uses it: what that is worth, and what it takes meanwhile. */
interface Kept {
  /** The request that leaves it, and the one that finds it. */
  readonly from: number;
  readonly to: number;
  pages: number;
  worth: number;
}

export interface Optimum {
  /** No order of eviction can save more. */
  readonly upper: number;
  /** What one that knows the future saves where pages have no places and content no beginning. */
  readonly lower: number;
}

/** Steps of the prices; more of them bring the two bounds closer. */
const STEPS = 400;

/**
 * Bounds of what any policy can save of a trace in a pool of so many pages.
 *
 * Content that request `to` finds since request `from` used it lay in the pool at the end of each request between
 * them, beside all that such a request uses. So what is found is a choice of such intervals with, at each request k,
 * the sum of pages of the chosen ones across k at most `pages` less those of k. Leaving out that a beginning has to
 * be there too, that pages lie in blocks, and that a piece is found or not (parts of it count here) allows more only.
 * That is a linear program (the flow of Berger et al., 2018); for any prices p(k) ≥ 0 of a page
 *
 *   Σ p(k) · room(k) + Σ max(0, worth − pages · Σ p(k) across)
 *
 * is at least its optimum (weak duality), so the bound holds however good the prices are. They are found by
 * subgradient steps from the best price that is equal for all. `lower` chooses whole intervals, the dearest for its
 * priced pages first, as long as they fit.
 */
export function optimum(trace: Trace, pages: number, worth: (piece: Piece) => number): Optimum {
  const room = trace.requests.map(
    ({ pieces }) => pages - pieces.reduce((sum, piece) => sum + piece.pages, 0),
  );
  if (room.some((left) => left < 0)) throw new RangeError('a request is larger than the pool');
  const { kept, sure } = keptOf(trace, worth);
  let prices: Float64Array = new Float64Array(room.length).fill(equalPrice(kept, room));
  let best = { upper: boundOf(kept, room, prices).bound, prices };
  for (let step = 0; step < STEPS; step += 1) {
    const { bound, slope } = boundOf(kept, room, prices);
    if (bound < best.upper) best = { upper: bound, prices };
    prices = moved(prices, slope, bound, step);
  }
  return { upper: sure + best.upper, lower: sure + chosen(kept, room, best.prices) };
}

/** The intervals, and the worth of those that no request lies between. */
function keptOf(trace: Trace, worth: (piece: Piece) => number): { kept: Kept[]; sure: number } {
  const last = new Map<Piece, number>();
  const kept = new Map<string, Kept>();
  let sure = 0;
  for (const [to, { pieces, promptPieces }] of trace.requests.entries()) {
    for (const [index, piece] of pieces.entries()) {
      const from = last.get(piece);
      last.set(piece, to);
      if (from === undefined || index >= promptPieces) continue;
      if (to === from + 1) sure += worth(piece);
      else join(kept, { from, to, pages: piece.pages, worth: worth(piece) });
    }
  }
  return { kept: [...kept.values()], sure };
}

/** Content of the same worth a page that is used at the same times counts as one. */
function join(kept: Map<string, Kept>, { from, to, pages, worth }: Kept): void {
  const key = `${from} ${to} ${worth / pages}`;
  const known = kept.get(key);
  if (known) {
    known.pages += pages;
    known.worth += worth;
  } else kept.set(key, { from, to, pages, worth });
}

/** Of prices that are the same at every request the one of the least bound: worth by worth of a page and request. */
function equalPrice(kept: readonly Kept[], room: readonly number[]): number {
  const volume = ({ from, to, pages }: Kept) => pages * (to - from - 1);
  const order = kept.toSorted((a, b) => b.worth / volume(b) - a.worth / volume(a));
  let left = room.reduce((sum, pages) => sum + pages, 0);
  for (const each of order) {
    left -= volume(each);
    if (left < 0) return each.worth / volume(each);
  }
  return 0;
}

/** The bound, and how it grows with each price. */
function boundOf(kept: readonly Kept[], room: readonly number[], prices: Float64Array) {
  const before = sums(prices);
  const change = new Float64Array(room.length + 1);
  let bound = 0;
  for (const { from, to, pages, worth } of kept) {
    const gain = worth - pages * ((before[to] ?? 0) - (before[from + 1] ?? 0));
    if (gain <= 0) continue;
    bound += gain;
    change[from + 1] = (change[from + 1] ?? 0) - pages;
    change[to] = (change[to] ?? 0) + pages;
  }
  const slope = new Float64Array(room.length);
  let across = 0;
  for (const [at, pages] of room.entries()) {
    across += change[at] ?? 0;
    slope[at] = pages + across;
    bound += (prices[at] ?? 0) * pages;
  }
  return { bound, slope };
}

/** Sum of the prices of all requests before each. */
function sums(prices: Float64Array): Float64Array {
  const before = new Float64Array(prices.length + 1);
  for (const [at, price] of prices.entries()) before[at + 1] = (before[at] ?? 0) + price;
  return before;
}

/** Against the slope, by a step that would lower the bound by a share of it, less and less. */
function moved(prices: Float64Array, slope: Float64Array, bound: number, step: number): Float64Array {
  const steepness = slope.reduce((sum, each) => sum + each * each, 0);
  if (steepness === 0) return prices;
  const length = ((0.1 / (1 + step / 20)) * bound) / steepness;
  return prices.map((price, at) => Math.max(0, price - length * (slope[at] ?? 0)));
}

/** Worth of intervals that fit together, taken by worth for their priced pages. */
function chosen(kept: readonly Kept[], room: readonly number[], prices: Float64Array): number {
  const before = sums(prices);
  const left = Float64Array.from(room);
  const value = ({ from, to, pages, worth }: Kept) =>
    worth / (pages * ((before[to] ?? 0) - (before[from + 1] ?? 0) + 1e-12 * (to - from)));
  let sum = 0;
  for (const { from, to, pages, worth } of kept.toSorted((a, b) => value(b) - value(a))) {
    const across = left.subarray(from + 1, to);
    const share = Math.min(1, across.reduce((least, each) => Math.min(least, each), Infinity) / pages);
    if (share <= 0) continue;
    sum += worth * share;
    for (let at = from + 1; at < to; at += 1) left[at] = (left[at] ?? 0) - pages * share;
  }
  return sum;
}
