import { ContentChain, type ContentUnit, textName } from '../../identity/index.js';
import type { CacheEntry, CachedContent, PrefixCache, PrefixMatch } from '../../paging/index.js';
import type { Progress } from './progress.js';
import type { SequenceTable } from './table.js';

/** Names of what a sequence has computed, and the entries of the prefix cache that it uses. */
export class Naming {
  #chain: ContentChain | undefined;
  /** In the order of the chain's units. */
  #entries: CacheEntry[] = [];
  /** Units of the chain that are in the cache, or were there already. */
  #named = 0;
  /** Tokens whose step has ended. */
  #confirmed = 0;
  /** A span that it had attended to raw was compressed under pressure: what it computes since then has no name. */
  #tainted = false;
  #sharedAway = { sharing: -1, pages: 0 };

  constructor(
    private readonly progress: Progress,
    private readonly table: SequenceTable,
  ) {
    const { content } = progress.request;
    this.#chain = content?.names?.fork() ?? this.#newChain(content?.tokenIds);
  }

  /** Names of what it has or will have; `undefined` when the request has not named its content. */
  get chain(): ContentChain | undefined {
    return this.#chain;
  }

  get entries(): readonly CacheEntry[] {
    return this.#entries;
  }

  /**
   * Pages of its table that count for those it shares them with: of a page with n users, 1 − 1/n.
   * @param sharing the number that changes with who uses what
   */
  sharedAway(sharing: number): number {
    if (this.#sharedAway.sharing !== sharing) {
      let shared = 0;
      for (const { users, pages } of this.#entries) if (users > 1) shared += pages - pages / users;
      this.#sharedAway = { sharing, pages: shared };
    }
    return this.#sharedAway.pages;
  }

  taint(): void {
    this.#tainted = true;
  }

  /** Begins with a cached prefix; the sequence has computed what it holds. */
  attach({ entries }: PrefixMatch): void {
    this.#entries = [...entries];
    const units = this.#chain?.units ?? [];
    this.#named = entries.findIndex((entry, index) => entry.name !== units[index]?.name);
    if (this.#named < 0) this.#named = entries.length;
    this.#confirmed = this.progress.computed;
  }

  takeEntries(): readonly CacheEntry[] {
    const entries = this.#entries;
    this.#entries = [];
    return entries;
  }

  /** The entries that it uses no more. */
  takeSome(which: (entry: CacheEntry) => boolean): readonly CacheEntry[] {
    const left = this.#entries.filter(which);
    if (left.length > 0) this.#entries = this.#entries.filter((entry) => !which(entry));
    return left;
  }

  /** Everything is computed again, and named by the forms that it is kept in from the start. */
  reset(): void {
    this.#named = 0;
    this.#confirmed = 0;
    if (this.#tainted) this.#chain = this.#newChain(this.#chain?.slice(0, this.progress.totalTokens));
    this.#tainted = false;
  }

  /** A step has ended: its rows up to `tokens` are there, and what they complete is named. */
  confirm(tokens: number, cache: PrefixCache): void {
    this.#confirmed = Math.max(this.#confirmed, tokens);
    const units = this.#tainted ? [] : (this.#chain?.units ?? []);
    for (let unit = units[this.#named]; unit; unit = units[this.#named]) {
      const end = unit.start + unit.tokenIds.length;
      const picture = unit.picture === undefined ? undefined : this.progress.pictures[unit.picture];
      // a span is stored at the head of the step after its last rows
      if (picture?.stored || unit.run ? this.#confirmed <= end : this.#confirmed < end) return;
      const content = this.#contentOf(unit);
      if (!content) throw new Error('content is named that is not there');
      this.#enter(cache, unit, content);
      this.#named += 1;
    }
  }

  /** Names the text at its end that fills no block or run; nothing more is written there. */
  sealTail(cache: PrefixCache): void {
    const chain = this.#chain;
    if (!chain || this.#tainted) return;
    const last = chain.units[this.#named - 1];
    let parent = last?.name ?? chain.root;
    let start = last ? last.start + last.tokenIds.length : 0;
    if (start < (this.progress.parts.at(-1)?.start ?? 0)) return;
    while (start < this.#confirmed) {
      const end = Math.min(start + this.progress.shape.blockTokens, this.#confirmed);
      const tokenIds = chain.slice(start, end);
      const name = textName(parent, tokenIds);
      const content = this.table.textContent(start);
      // a run that the step under way compresses is neither
      if (!content) return;
      this.#enter(cache, { parent, name, tokenIds }, content);
      parent = name;
      start = end;
    }
  }

  #newChain(tokenIds: readonly number[] | undefined): ContentChain | undefined {
    const { request, parts, pictures, shape, text } = this.progress;
    if (!request.content || !tokenIds) return undefined;
    const named = pictures.flatMap((picture) => picture.content ?? []);
    if (named.length < pictures.length) return undefined;
    return new ContentChain(request.content.root, parts, named, tokenIds, shape.blockTokens, text);
  }

  #enter(cache: PrefixCache, unit: Parameters<PrefixCache['insert']>[0], content: CachedContent): void {
    const entry = cache.insert(unit, content, this.progress.request.content?.owner);
    if (entry) this.#entries.push(entry);
  }

  #contentOf({ run, picture, start }: ContentUnit): CachedContent | undefined {
    if (run) return this.table.spanContent('run', start);
    return picture === undefined ? this.table.textContent(start) : this.table.spanContent('picture', start);
  }
}
