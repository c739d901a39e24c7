import type { EvictionPolicy } from '@kvcapsule/domain/eviction';
import { type CacheEntry, pageRuns, PagePool, PrefixCache } from '@kvcapsule/domain/paging';
import type { Piece, Trace, TraceRequest } from './trace.js';

const PAGES_PER_BLOCK = 8;
/** No other format stands beside it. */
const FORMAT = 0;

/** What was found of the prompts, and what they had. */
export interface Saved {
  readonly pages: number;
  readonly textTokens: number;
  readonly pictureTokens: number;
}

/** What one asked for, and what of it was found. */
export interface Served {
  found: Saved;
  asked: Saved;
}

export interface Replayed extends Readonly<Served> {
  readonly byTenant: ReadonlyMap<string, Readonly<Served>>;
  readonly evictedPages: number;
}

const NOTHING: Saved = { pages: 0, textTokens: 0, pictureTokens: 0 };

export function plus(sum: Saved, { pages, picture, tokenIds }: Piece): Saved {
  return {
    pages: sum.pages + pages,
    textTokens: sum.textTokens + (picture === undefined ? tokenIds.length : 0),
    pictureTokens: sum.pictureTokens + (picture === undefined ? 0 : tokenIds.length),
  };
}

/** Runs a trace's requests one after the other through a worker's prefix cache over a pool of so many blocks. */
export function replay(trace: Trace, blocks: number, policy: EvictionPolicy<CacheEntry>): Replayed {
  const pool = new PagePool(blocks, PAGES_PER_BLOCK);
  const cache = new PrefixCache(pool, policy);
  const all: Served = { found: NOTHING, asked: NOTHING };
  const byTenant = new Map<string, Served>();
  for (const request of trace.requests) {
    const hits = run(pool, cache, request);
    const prompt = request.pieces.slice(0, request.promptPieces);
    const own = byTenant.get(request.tenant) ?? { found: NOTHING, asked: NOTHING };
    byTenant.set(request.tenant, own);
    for (const served of [all, own]) {
      served.found = prompt.slice(0, hits).reduce(plus, served.found);
      served.asked = prompt.reduce(plus, served.asked);
    }
  }
  return { ...all, byTenant, evictedPages: cache.evictedPages };
}

/** Returns how many pieces of the prompt were there. */
function run(pool: PagePool, cache: PrefixCache, request: TraceRequest): number {
  const { tenant, pieces, promptPieces } = request;
  const units = pieces.slice(0, promptPieces);
  const [first] = pieces;
  if (!first) return 0;
  const { entries } = cache.match({ root: first.parent, units, tail: [], blockTokens: 16 }, Infinity);
  cache.begin(entries);
  const used = [...entries];
  for (const piece of pieces.slice(entries.length)) {
    const pages = allocate(pool, cache, piece.pages);
    const stored = { format: FORMAT, tokens: piece.tokenIds.length, pages };
    const kind = piece.picture === undefined ? 'run' : 'picture';
    const entry = cache.insert(piece, { kind, stored, raw: undefined }, { tenant, weight: 1 });
    if (entry) used.push(entry);
    pool.release(pageRuns(pages, PAGES_PER_BLOCK));
  }
  cache.leave(used);
  return entries.length;
}

function allocate(pool: PagePool, cache: PrefixCache, pages: number): number[] {
  for (;;) {
    const taken = pool.allocatePages(pages);
    if (taken) return taken;
    if (!cache.evict()) throw new Error('a request is larger than the pool');
  }
}
