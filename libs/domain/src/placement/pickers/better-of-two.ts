/** Draws two different ones of these indices, and gives the one that costs less. */
export function betterOfTwo(totals: Float64Array, indices: readonly number[], random: () => number): number {
  const first = Math.floor(random() * indices.length);
  const step = 1 + Math.floor(random() * (indices.length - 1));
  const a = indices[first] as number;
  const b = indices[(first + step) % indices.length] as number;
  return (totals[b] as number) < (totals[a] as number) ? b : a;
}
