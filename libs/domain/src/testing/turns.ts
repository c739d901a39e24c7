/** Numbers in turn, from the beginning again after the last: a source of chance that a test decides. */
export function turns(...numbers: number[]): () => number {
  let at = 0;
  return () => numbers[at++ % numbers.length] ?? 0;
}
