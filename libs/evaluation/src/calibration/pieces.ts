/** What pictures of many grids are put together of, as the engine's fit takes it. */
export interface Pieces {
  /** Rows of each kind of piece, and whether they are markers (1) or not (0). */
  readonly kindRows: Int32Array;
  readonly kindMarkers: Int32Array;
  /** Kind of each site. */
  readonly sites: Int32Array;
  /** Sites of each layout, in the order of the spans. */
  readonly layouts: readonly (readonly number[])[];
}

/** A run of tokens of one sort. */
interface Run {
  readonly marker: boolean;
  readonly tokens: readonly number[];
  /** What tells pieces with other statistics apart. */
  readonly kind: string;
  /** The marker that opens a tile: where in the grid the piece stands. */
  readonly opener: number;
}

function cut(tokens: readonly number[], imageTokenId: number): Run[] {
  const runs: { marker: boolean; tokens: number[] }[] = [];
  for (const token of tokens) {
    const marker = token !== imageTokenId;
    const last = runs.at(-1);
    if (last?.marker === marker) last.tokens.push(token);
    else runs.push({ marker, tokens: [token] });
  }
  // The last tokens of a picture are those of its view in small, or of all of it where it has no tiles.
  const view = runs.findLastIndex(({ marker }) => !marker);
  return runs.map((run, at) => {
    const tile = run.marker ? at + 1 : at;
    const before = tile === view ? 'view' : tile < view ? 'tile' : 'end';
    const opener = (run.marker ? run : runs[at - 1])?.tokens.at(-1) ?? -1;
    return { ...run, opener, kind: `${run.marker ? 'markers' : 'image'} ${run.tokens.length} ${before}` };
  });
}

/**
 * Cuts the spans of pictures into pieces: the tokens of a tile, and the markers before one. Pieces with as many rows
 * that mean the same are of one kind; pieces of one kind behind the same marker are of one site.
 *
 * @param spans markers and image tokens of a picture of each grid
 */
export function cutPieces(spans: readonly (readonly number[])[], imageTokenId: number): Pieces {
  const kinds = new Map<string, { readonly index: number; readonly run: Run }>();
  const sites = new Map<string, { readonly index: number; readonly kind: number }>();
  const layouts = spans.map((tokens) =>
    cut(tokens, imageTokenId).map((run) => {
      const kind = kinds.get(run.kind) ?? { index: kinds.size, run };
      kinds.set(run.kind, kind);
      const key = `${run.kind} ${run.opener}`;
      const site = sites.get(key) ?? { index: sites.size, kind: kind.index };
      sites.set(key, site);
      return site.index;
    }),
  );
  const runs = [...kinds.values()].map(({ run }) => run);
  return {
    kindRows: Int32Array.from(runs, ({ tokens }) => tokens.length),
    kindMarkers: Int32Array.from(runs, ({ marker }) => (marker ? 1 : 0)),
    sites: Int32Array.from([...sites.values()], ({ kind }) => kind),
    layouts,
  };
}

/** Whether all kinds of pieces of a span are in some of the others. */
export function madeOf(
  span: readonly number[],
  seen: readonly (readonly number[])[],
  imageTokenId: number,
): boolean {
  const known = new Set(seen.flatMap((tokens) => cut(tokens, imageTokenId).map(({ kind }) => kind)));
  return cut(span, imageTokenId).every(({ kind }) => known.has(kind));
}
