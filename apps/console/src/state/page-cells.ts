import type { ClusterPages, PageKind } from '@kvcapsule/contracts/cluster';

export type Runs = ClusterPages['runs'];

/** In the order of their numbers in a cell map. */
export const KINDS = ['free', 'cached', 'raw', 'capsule'] as const satisfies readonly PageKind[];

const NUMBERS: Readonly<Record<PageKind, number>> = { free: 0, cached: 1, raw: 2, capsule: 3 };

/**
 * A pool as so many cells, or fewer where it has fewer pages: each the kind of most of its pages, a used one before a
 * free one, so that a pool with little in it does not look empty.
 */
export function cellsOf(runs: Runs, most: number): Uint8Array {
  const pages = pagesOf(runs);
  const cells = new Uint8Array(Math.min(most, pages));
  if (pages === 0) return cells;
  const counts = new Float64Array(cells.length * KINDS.length);
  const perCell = pages / cells.length;
  let from = 0;
  for (const [kind, count] of runs) {
    const end = from + count;
    for (let cell = Math.floor(from / perCell); cell < cells.length && cell * perCell < end; cell += 1) {
      const covered = Math.min(end, (cell + 1) * perCell) - Math.max(from, cell * perCell);
      const at = cell * KINDS.length + NUMBERS[kind];
      counts[at] = (counts[at] ?? 0) + covered;
    }
    from = end;
  }
  for (const cell of cells.keys()) cells[cell] = mostOf(counts, cell * KINDS.length);
  return cells;
}

/** Beside what is in use, so much of what is free behind it. */
const ROOM = 1.25;

/**
 * The first pages of a pool, as far as they are in use and a little further: a large pool with little in it would be a
 * field of dots. All of it where it has no more pages than cells.
 */
export function inUse(runs: Runs, cells: number): Runs {
  const pages = pagesOf(runs);
  const last = runs.at(-1);
  if (last?.[0] !== 'free') return runs;
  const [, behind] = last;
  const used = pages - behind;
  const shown = Math.min(pages, Math.max(cells, Math.ceil(used * ROOM)));
  return shown === used ? runs.slice(0, -1) : [...runs.slice(0, -1), ['free', shown - used]];
}

export const pagesOf = (runs: Runs): number => runs.reduce((sum, [, count]) => sum + count, 0);

function mostOf(counts: Float64Array, from: number): number {
  let [most, kind] = [1e-9, 0];
  for (let each = 1; each < KINDS.length; each += 1) {
    const count = counts[from + each] ?? 0;
    if (count > most) [most, kind] = [count, each];
  }
  return kind;
}

/** Where only sums are known: one run of each kind. */
export function runsOfSums(held: Readonly<Record<PageKind, number>>): Runs {
  return (['capsule', 'raw', 'cached', 'free'] as const).map((kind) => [kind, held[kind]]);
}
