import {
  DEFAULT_EVICTION_POLICY,
  EVICTION_POLICIES,
  type EvictionPolicy,
  type ContentOwner,
  type Owned,
  RebuildCosts,
} from '../eviction/index.js';
import { type ContentChain, type ContentName, type ContentUnit, textName } from '../identity/index.js';
import { type CachedItem, CacheLog } from '../owners/index.js';
import { pageRuns, type PagePool } from './page-pool.js';

/** Raw rows of text in one block; fewer than a block's where a segment or a sequence ended. */
export interface CachedText {
  readonly kind: 'text';
  readonly block: number;
}

/** A picture's whole span, or a run of text: raw, or stored in a format beside the rows that this does not cover. */
export interface CachedSpan {
  readonly kind: 'picture' | 'run';
  readonly stored:
    { readonly format: number; readonly tokens: number; readonly pages: readonly number[] } | undefined;
  readonly raw: { readonly tokens: number; readonly blocks: readonly number[] } | undefined;
}

export type CachedContent = CachedText | CachedSpan;

/** One named piece of content and who uses it. Only the cache changes it. */
export interface CacheEntry extends Owned {
  readonly name: ContentName;
  readonly parent: ContentName;
  readonly tokenIds: readonly number[];
  readonly content: CachedContent;
  readonly runs: readonly number[];
  users: number;
  /** Idle entries that follow this one. */
  idleChildren: number;
}

/**
 * What evicted content made room for: pages that are taken; a request whose pages come back and have to lie together;
 * the tails of running requests, which idle ones kept from room; or one that fits only where nothing else is.
 */
export type EvictionReason = 'allocation' | 'restore' | 'fragmentation' | 'preemption';

/** What is looked for: units that have names, and text at the end that has none yet. */
export type NamedContent = Pick<ContentChain, 'root' | 'units' | 'tail' | 'blockTokens' | 'runs'>;

/** The longest prefix that is there. Its entries are in use by the caller: `leave` gives them back. */
export interface PrefixMatch {
  readonly entries: readonly CacheEntry[];
  /** Tokens of the entries. */
  readonly tokens: number;
  /** A block that begins with the tokens that follow; a sequence goes on in a copy of it. In use by the caller too. */
  readonly partial: { readonly entry: CacheEntry; readonly tokens: number } | undefined;
}

/**
 * Content that later requests may share, by name. It holds one reference on the pages of each entry; an entry that
 * no sequence uses is idle, and only idle ones are evicted.
 *
 * The policy says which idle entry goes first. One that idle others follow is not offered to it until they have gone,
 * since they could not be found without it.
 */
export class PrefixCache {
  readonly #pool: PagePool;
  readonly #entries = new Map<ContentName, CacheEntry>();
  readonly #children = new Map<ContentName, CacheEntry[]>();
  readonly #policy: EvictionPolicy<CacheEntry>;
  /** First pages of all entries' runs. */
  readonly #runs = new Set<number>();
  #idlePages = 0;
  #idleTokens = 0;
  #serials = 0;
  #evictedPages = 0;
  readonly #evictions: Record<EvictionReason, number> = {
    ...{ allocation: 0, restore: 0, fragmentation: 0, preemption: 0 },
  };

  /** @param log what comes and goes is written there */
  constructor(
    pool: PagePool,
    policy: EvictionPolicy<CacheEntry> = EVICTION_POLICIES[DEFAULT_EVICTION_POLICY]<CacheEntry>(
      new RebuildCosts().of,
    ),
    private readonly log = new CacheLog(),
  ) {
    this.#pool = pool;
    this.#policy = policy;
    log.addSource(() => this.#items());
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Pages that nothing but the cache holds: an allocation may evict them. */
  get idlePages(): number {
    return this.#idlePages;
  }

  /** Tokens whose keys and values lie in those pages. */
  get idleTokens(): number {
    return this.#idleTokens;
  }

  /** First pages of idle content's runs; nobody else holds them. */
  *idleRuns(): Generator<number, undefined> {
    for (const { users, runs } of this.#entries.values()) if (users === 0) yield* runs;
    return undefined;
  }

  /** Whether the cache is one of the holders of a run. */
  readonly holds = (run: number): boolean => this.#runs.has(run);

  get evictedPages(): number {
    return this.#evictedPages;
  }

  get evictions(): Readonly<Record<EvictionReason, number>> {
    return { ...this.#evictions };
  }

  /** The longest cached prefix of at most `limit` tokens, in use from here on. */
  match(chain: NamedContent, limit: number): PrefixMatch {
    const entries: CacheEntry[] = [];
    let tokens = 0;
    let parent = chain.root;
    let wanted = chain.tail;
    const take = (entry: CacheEntry): void => {
      this.#use(entry);
      entries.push(entry);
      tokens += entry.tokenIds.length;
      parent = entry.name;
    };
    for (const unit of chain.units) {
      const entry = this.#entries.get(unit.name);
      if (!entry || tokens + unit.tokenIds.length > limit) {
        wanted = unit.picture === undefined ? unit.tokenIds : [];
        break;
      }
      take(entry);
    }
    // a run that is not there may have begun as blocks; its last token is computed, so that it is compressed in turn
    if (chain.runs) wanted = wanted.slice(0, chain.runs.tokens - 1);
    for (;;) {
      const entry = this.#nextBlock(chain, parent, wanted);
      if (!entry || tokens + chain.blockTokens > limit) break;
      take(entry);
      wanted = wanted.slice(chain.blockTokens);
    }
    const partial = this.#longestStart(parent, wanted, limit - tokens);
    if (partial) this.#use(partial.entry);
    return { entries, tokens, partial };
  }

  /** The block of a run that is not full which begins with these tokens. */
  #nextBlock(
    { runs, blockTokens }: NamedContent,
    parent: ContentName,
    wanted: readonly number[],
  ): CacheEntry | undefined {
    if (!runs || wanted.length < blockTokens) return undefined;
    return this.#entries.get(textName(parent, wanted.slice(0, blockTokens)));
  }

  /** How many units of the chain are there now, from the first on; nothing is taken into use. */
  count(chain: Pick<ContentChain, 'units'>): number {
    const missing = chain.units.findIndex(({ name }) => !this.#entries.has(name));
    return missing < 0 ? chain.units.length : missing;
  }

  /**
   * Names content whose pages the caller holds. They are sealed from here on, and the entry is in use by the caller.
   * `undefined` when the name is there already: the caller's pages stay its own.
   *
   * @param owner whose it counts as
   */
  insert(
    unit: Pick<ContentUnit, 'name' | 'parent' | 'tokenIds'>,
    content: CachedContent,
    { tenant, weight }: ContentOwner = { tenant: '', weight: 1 },
  ): CacheEntry | undefined {
    if (this.#entries.has(unit.name)) return undefined;
    const { name, parent, tokenIds } = unit;
    const runs = runsOf(content, this.#pool.pagesPerBlock);
    const pages = pagesOf(content, this.#pool.pagesPerBlock);
    const [textTokens, pictureTokens] =
      content.kind === 'picture' ? [0, tokenIds.length] : [tokenIds.length, 0];
    const entry: CacheEntry = {
      ...{ name, parent, tokenIds, content, runs, pages, textTokens, pictureTokens, tenant, weight },
      storedPages: content.kind === 'text' ? 0 : (content.stored?.pages.length ?? 0),
      serial: this.#serials++,
      users: 1,
      idleChildren: this.#children.get(name)?.filter(({ users }) => users === 0).length ?? 0,
    };
    this.#pool.share(runs);
    for (const run of runs) this.#runs.add(run);
    this.#entries.set(name, entry);
    const siblings = this.#children.get(parent);
    if (siblings) siblings.push(entry);
    else this.#children.set(parent, [entry]);
    this.#policy.insert(entry);
    this.log.stored(name, content.kind, tokenIds.length, pages);
    return entry;
  }

  /** A request begins with these, which it found and uses: they were not computed again. */
  begin(entries: readonly CacheEntry[]): void {
    for (const entry of entries) this.#policy.use(entry);
  }

  /** The caller uses these no more. */
  leave(entries: readonly CacheEntry[]): void {
    for (const entry of entries) {
      entry.users -= 1;
      if (entry.users > 0) continue;
      this.#policy.leave(entry);
      this.#setIdle(entry, true);
    }
  }

  /** Frees the pages of the idle entry that the policy names. False when there is none. */
  evict(reason: EvictionReason = 'allocation'): boolean {
    const entry = this.#policy.victim();
    if (!entry) return false;
    this.#policy.evict(entry);
    this.#evictedPages += entry.pages;
    this.#evictions[reason] += 1;
    this.#entries.delete(entry.name);
    const siblings = this.#children.get(entry.parent) ?? [];
    siblings.splice(siblings.indexOf(entry), 1);
    if (siblings.length === 0) this.#children.delete(entry.parent);
    this.#setIdle(entry, false);
    for (const run of entry.runs) this.#runs.delete(run);
    this.#pool.release(entry.runs);
    this.log.removed(entry.name);
    return true;
  }

  *#items(): Generator<CachedItem, undefined> {
    for (const { name, content, tokenIds, pages } of this.#entries.values()) {
      yield { name, kind: content.kind, tokens: tokenIds.length, pages };
    }
    return undefined;
  }

  #use(entry: CacheEntry): void {
    entry.users += 1;
    if (entry.users === 1) this.#setIdle(entry, false);
  }

  #setIdle(entry: CacheEntry, idle: boolean): void {
    const change = idle ? 1 : -1;
    this.#idlePages += change * entry.pages;
    this.#idleTokens += change * entry.tokenIds.length;
    this.#pool.setIdle(entry.runs, idle);
    this.#offer(entry);
    const parent = this.#entries.get(entry.parent);
    if (!parent) return;
    parent.idleChildren += change;
    this.#offer(parent);
  }

  /** Lets an entry be evicted, or not, as things stand with it. */
  #offer(entry: CacheEntry): void {
    const evictable =
      entry.users === 0 && entry.idleChildren === 0 && this.#entries.get(entry.name) === entry;
    if (evictable) this.#policy.offer(entry);
    else this.#policy.withdraw(entry);
  }

  #longestStart(parent: ContentName, wanted: readonly number[], limit: number): PrefixMatch['partial'] {
    let best: PrefixMatch['partial'];
    for (const entry of this.#children.get(parent) ?? []) {
      if (entry.content.kind !== 'text') continue;
      const most = Math.min(limit, wanted.length, entry.tokenIds.length);
      let tokens = 0;
      while (tokens < most && entry.tokenIds[tokens] === wanted[tokens]) tokens += 1;
      if (tokens > (best?.tokens ?? 0)) best = { entry, tokens };
    }
    return best;
  }
}

function rawBlocksOf(content: CachedContent): readonly number[] {
  return content.kind === 'text' ? [content.block] : (content.raw?.blocks ?? []);
}

function runsOf(content: CachedContent, pagesPerBlock: number): number[] {
  const stored = content.kind === 'text' ? undefined : content.stored;
  return [
    ...pageRuns(stored?.pages ?? [], pagesPerBlock),
    ...rawBlocksOf(content).map((block) => block * pagesPerBlock),
  ];
}

function pagesOf(content: CachedContent, pagesPerBlock: number): number {
  const storedPages = content.kind === 'text' ? 0 : (content.stored?.pages.length ?? 0);
  return storedPages + rawBlocksOf(content).length * pagesPerBlock;
}
