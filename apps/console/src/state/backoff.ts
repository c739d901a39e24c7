const FIRST_MS = 500;
const LONGEST_MS = 15_000;

/** How long to wait before the next try after so many failures in a row; half of it by chance, so that readers spread. */
export function backoffMs(failures: number, chance: number): number {
  const most = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures - 1, 10));
  return most / 2 + (chance * most) / 2;
}
