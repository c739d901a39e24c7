/** Every index but those that were taken. */
export function others(totals: Float64Array, taken: readonly number[]): number[] {
  const indices: number[] = [];
  for (let at = 0; at < totals.length; at += 1) if (!taken.includes(at)) indices.push(at);
  return indices;
}
