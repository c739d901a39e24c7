// What benchmarks say of many samples.

/** The smallest sample that at least `share` of all do not exceed; undefined of none. */
export function quantile(samples, share) {
  const sorted = Float64Array.from(samples).sort();
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

export const median = (samples) => quantile(samples, 0.5);

export function quartiles(samples) {
  const [q1, middle, q3] = [0.25, 0.5, 0.75].map((share) => quantile(samples, share));
  return { median: middle, q1, q3 };
}

/** Median and quartiles with their number, as they stand in results. */
export function countedQuartiles(samples) {
  const { median: middle, q1, q3 } = quartiles(samples);
  return { median: middle, q25: q1, q75: q3, n: samples.length };
}

/** Of those that are finite; undefined of none. */
export function spread(samples) {
  const finite = samples.filter(Number.isFinite);
  if (finite.length === 0) return undefined;
  return { median: median(finite), least: quantile(finite, 0), most: quantile(finite, 1) };
}

/** Rounds to so many significant digits; undefined stays that. */
export const roundedTo = (digits) => (number) =>
  number === undefined ? undefined : Number(number.toPrecision(digits));

export const rounded = roundedTo(4);

/** The same with each number of a flat object. */
export const roundedAll = (numbers, round = rounded) =>
  Object.fromEntries(Object.entries(numbers).map(([name, number]) => [name, round(number)]));

export function roundedSpread(samples, round = rounded) {
  const over = spread(samples);
  return over && roundedAll(over, round);
}
