import { ContentChain, textName } from '../identity/index.js';
import {
  type BlockShape,
  type CacheEntry,
  type CachedContent,
  capsuleRuns,
  type PrefixCache,
  type PrefixMatch,
  type PromptSegment,
  promptSegments,
  rawBlocks,
} from '../paging/index.js';
import type { SegmentPages } from './holdings.js';
import type { PageChange, ScheduledPicture, ScheduledRequest, SpanCapsule, StepChunk } from './step.js';

/** Where a sequence gets its pages. The caller of `advance` has made sure that they are there. */
export interface PageSource {
  takeBlocks(count: number): number[];
  takeCapsule(pages: number): number[];
  release(runs: readonly number[]): void;
  /** Whether a capsule's tail would begin a block of its own. */
  tailTakesBlock(pages: number): boolean;
}

/** What one sequence does in one step. */
export interface SequenceWork {
  readonly changes: PageChange[];
  readonly chunks: StepChunk[];
  rows: number;
  /** The last row's next token is wanted. */
  samples: boolean;
}

/** A segment of the engine's table. `part` is the segment of the prompt that it holds, or holds a part of. */
type HeldSegment =
  | { readonly kind: 'raw'; readonly part: number; readonly blocks: number[]; tokens: number }
  | (SegmentPages & { readonly kind: 'capsule'; readonly part: number });

/** One request's place in the pool: how far it is computed and which pages it holds. */
export class Sequence {
  readonly id: string;
  readonly priority: number;
  /** Tokens of the answer once the steps planned so far have run. */
  generated = 0;
  /** Tokens whose keys and values are in the pool once the steps planned so far have run. */
  computed = 0;
  slot = -1;
  /** The features of this picture and of those after it are there. */
  featuresFrom = 0;
  /** False while the features of its pictures are made again. */
  ready = true;
  /** The steps it takes part in that are under way. */
  readonly inSteps = new Set<number>();
  /** Its pages' bytes are kept elsewhere. */
  swapped = false;
  /** What it had computed when it was preempted, until it is back. */
  lostTokens = 0;

  readonly #parts: readonly PromptSegment[];
  #pictures: readonly ScheduledPicture[];
  #chain: ContentChain | undefined;
  /** As in the engine's table. */
  #held: HeldSegment[] = [];
  /** A complete raw picture span at the end of the table that waits for its compression. */
  #uncompressed: ScheduledPicture | undefined;
  /** Entries of the prefix cache that it uses, in the order of its units. */
  #entries: CacheEntry[] = [];
  /** Units of the chain that are in the cache, or were there already. */
  #named = 0;
  /** Tokens whose step has ended. */
  #confirmed = 0;
  /** A picture it had attended to was compressed after all: what it computes since then has no name. */
  #tainted = false;

  constructor(
    readonly request: ScheduledRequest,
    /** Order of arrival; lower is older. */
    readonly arrival: number,
    readonly shape: BlockShape,
  ) {
    this.id = request.id;
    this.priority = request.priority ?? 0;
    this.#pictures = request.pictures;
    const parts = promptSegments(request.promptTokens, request.pictures);
    if (parts.at(-1)?.picture !== undefined) {
      parts.push({ start: request.promptTokens, length: 0, picture: undefined });
    }
    this.#parts = parts;
    this.#chain = this.#newChain(request.content?.tokenIds);
  }

  /** Tokens that are to be computed: prompt and answer so far, without the last token that the answer may have. */
  get totalTokens(): number {
    const { promptTokens, maxTokens = Infinity } = this.request;
    return promptTokens + Math.min(this.generated, maxTokens - 1);
  }

  /** Only the newest token is missing. */
  get decoding(): boolean {
    return this.computed > 0 && this.totalTokens - this.computed === 1 && this.generated > 0;
  }

  /** Names of what it has or will have; `undefined` when the request has not named its content. */
  get chain(): ContentChain | undefined {
    return this.#chain;
  }

  /** First pages of all runs that it holds. */
  get runs(): number[] {
    return this.#held.flatMap((segment) => this.#runsOf(segment));
  }

  /** Pages in the order of its table; what a swap moves. */
  get pages(): number[] {
    const { pagesPerBlock } = this.shape;
    return this.#held.flatMap((segment) =>
      segment.kind === 'capsule'
        ? segment.pages
        : segment.blocks.flatMap((block) =>
            Array.from({ length: pagesPerBlock }, (_, page) => block * pagesPerBlock + page),
          ),
    );
  }

  /** As in the engine's table; nothing while its bytes are kept elsewhere. */
  get segments(): readonly SegmentPages[] {
    return this.swapped ? [] : this.#held;
  }

  /** The first picture that has to be computed when it goes on after `tokens` tokens. */
  pictureAfter(tokens: number): number {
    const index = this.#pictures.findIndex(({ offset, length }) => offset + length > tokens);
    return index < 0 ? this.#pictures.length : index;
  }

  /**
   * Blocks that the next `rows` rows take beyond those held, at their worst moment; all rows that are missing, with
   * the compressions between them, when `rows` is left out.
   */
  blocksFor(source: Pick<PageSource, 'tailTakesBlock'>, rows = Infinity, from = this.computed): number {
    let held = 0;
    let peak = 0;
    let at = from;
    let left = Math.min(rows, this.totalTokens - from);
    let pending = from === this.computed ? this.#uncompressed : undefined;
    while (left > 0) {
      if (pending?.capsule) {
        if (at > from && rows !== Infinity) break;
        held += this.#capsuleBlocks(source, pending.capsule, pending.restRows.length);
        peak = Math.max(peak, held);
        held -= rawBlocks(pending.length, this.shape);
        pending = undefined;
      }
      const { part, start, end } = this.#partAt(at);
      const taken = Math.min(left, end - at);
      held += rawBlocks(at - start + taken, this.shape) - rawBlocks(at - start, this.shape);
      peak = Math.max(peak, held);
      at += taken;
      left -= taken;
      if (at === end && part.picture !== undefined) pending = this.#pictures[part.picture];
    }
    return peak;
  }

  /** Blocks that its pages take when they come back. */
  blocksToRestore(source: Pick<PageSource, 'tailTakesBlock'>): number {
    return this.#held.reduce(
      (sum, each) =>
        sum +
        (each.kind === 'raw'
          ? each.blocks.length
          : this.#capsuleBlocks(source, { pages: each.pages.length }, 0)),
      0,
    );
  }

  /** Begins with a cached prefix. Its entries' pages are shared already; `copy` is a fresh block for its partial one. */
  attach(match: PrefixMatch, copy: number | undefined, work: SequenceWork): void {
    this.#entries = [...match.entries];
    this.#named = match.entries.length;
    match.entries.forEach((entry, index) => {
      const part = this.#chain?.units[index]?.segment ?? 0;
      const { content, tokenIds } = entry;
      if (content.kind === 'text') {
        this.#appendRaw(part, [content.block], tokenIds.length);
        return;
      }
      const { capsule, raw } = content;
      if (capsule) {
        const { format: profile, tokens, pages } = capsule;
        this.#held.push({ kind: 'capsule', part, pages: [...pages], tokens, profile });
      }
      if (raw) this.#held.push({ kind: 'raw', part, blocks: [...raw.blocks], tokens: raw.tokens });
    });
    this.computed = match.tokens;
    if (match.partial && copy !== undefined) {
      work.changes.push({ kind: 'copyBlock', from: blockOf(match.partial.entry.content), to: copy });
      this.#appendRaw(this.#parts.indexOf(this.#partAt(match.tokens).part), [copy], match.partial.tokens);
      this.computed += match.partial.tokens;
    }
    this.#confirmed = this.computed;
    this.#attachHeld(work);
  }

  /** Its pages' bytes are being read: it holds none until `restore`. Returns the runs to release. */
  swapOut(): { readonly runs: number[]; readonly entries: readonly CacheEntry[] } {
    const { runs } = this;
    this.swapped = true;
    this.slot = -1;
    this.inSteps.clear();
    return { runs, entries: this.#takeEntries() };
  }

  /** Fresh pages for the bytes that were read; `pages` are them afterwards, in the same order. */
  restore(source: PageSource, work: SequenceWork): void {
    this.#held = this.#held.map((segment) =>
      segment.kind === 'raw'
        ? { ...segment, blocks: source.takeBlocks(segment.blocks.length) }
        : { ...segment, pages: source.takeCapsule(segment.pages.length) },
    );
    this.swapped = false;
    this.#attachHeld(work);
  }

  /** Forgets everything computed and hands over what it holds; what was generated stays part of the text. */
  reset(): { readonly runs: number[]; readonly entries: readonly CacheEntry[] } {
    const runs = this.swapped ? [] : this.runs;
    const entries = this.#takeEntries();
    this.#held = [];
    this.#uncompressed = undefined;
    this.#named = 0;
    this.#confirmed = 0;
    // what is computed from here on attends to the capsules from the start, and is named so
    if (this.#tainted) this.#chain = this.#newChain(this.#chain?.slice(0, this.totalTokens));
    this.#tainted = false;
    this.computed = 0;
    this.slot = -1;
    this.inSteps.clear();
    this.swapped = false;
    this.featuresFrom = this.#pictures.length;
    return { runs, entries };
  }

  /**
   * Adds up to `budget` rows to the work. Stops at a picture's end when its span is to be compressed: what
   * follows attends to the capsule, so it belongs to a later step.
   */
  advance(budget: number, work: SequenceWork, source: PageSource): void {
    while (work.rows < budget && this.computed < this.totalTokens) {
      if (this.#uncompressed) {
        if (work.rows > 0) break;
        const { capsule, restRows } = this.#uncompressed;
        if (capsule) this.#compress(this.#held.length - 1, capsule, restRows, source, work.changes);
        this.#uncompressed = undefined;
      }
      this.#addChunk(budget - work.rows, work, source);
    }
    work.samples = this.computed === this.totalTokens && work.rows > 0;
    if (work.samples) this.generated += 1;
  }

  /** Blocks that compressing its next picture under pressure takes; `undefined` when it has none to compress. */
  blocksToRecompress(source: Pick<PageSource, 'tailTakesBlock'>): number | undefined {
    const found = this.#recompressible();
    return found && this.#capsuleBlocks(source, found.pressure.capsule, found.pressure.restRows.length);
  }

  /** The same for the largest of its pictures, computed or not; 0 when it has none. */
  mostBlocksToRecompress(source: Pick<PageSource, 'tailTakesBlock'>): number {
    return this.#pictures.reduce((most, { underPressure }) => {
      if (!underPressure) return most;
      const { capsule, restRows } = underPressure;
      return Math.max(most, this.#capsuleBlocks(source, capsule, restRows.length));
    }, 0);
  }

  /** Compresses a picture that it has attended to. Returns which, and the entry of the cache that it gives up. */
  recompress(
    source: PageSource,
    changes: PageChange[],
  ): { readonly picture: number; readonly entry: CacheEntry | undefined } {
    const found = this.#recompressible();
    if (!found) throw new Error('there is no raw picture to compress');
    const { at, picture, pressure } = found;
    this.#compress(at, pressure.capsule, pressure.restRows, source, changes);
    const { capsule, restRows, form } = pressure;
    this.#pictures = this.#pictures.map((each, index) => {
      if (index !== picture) return each;
      const { offset, length, content } = each;
      return { offset, length, capsule, restRows, ...(content && { content: { ...content, ...form } }) };
    });
    this.#tainted = true;
    const unit = this.#chain?.units.findIndex((each) => each.picture === picture) ?? -1;
    const name = this.#chain?.units[unit]?.name;
    const entry = this.#entries.find((each) => each.name === name);
    this.#entries = this.#entries.filter((each) => each !== entry);
    return { picture, entry };
  }

  /** A step has ended: its rows up to `tokens` are there, and what they complete is named. */
  confirm(tokens: number, cache: PrefixCache): void {
    this.#confirmed = Math.max(this.#confirmed, tokens);
    const units = this.#tainted ? [] : (this.#chain?.units ?? []);
    for (let unit = units[this.#named]; unit; unit = units[this.#named]) {
      const end = unit.start + unit.tokenIds.length;
      const picture = unit.picture === undefined ? undefined : this.#pictures[unit.picture];
      // a capsule is made at the head of the step after its span's last rows
      if (picture?.capsule ? this.#confirmed <= end : this.#confirmed < end) return;
      this.#enter(cache, unit, picture ? this.#pictureContent(unit.segment) : this.#textContent(unit.start));
      this.#named += 1;
    }
  }

  /** Names the text at its end that fills no block; nothing more is written there. */
  sealTail(cache: PrefixCache): void {
    const chain = this.#chain;
    if (!chain || this.#tainted || this.swapped) return;
    const last = chain.units[this.#named - 1];
    const start = last ? last.start + last.tokenIds.length : 0;
    const tokenIds = chain.slice(start, this.#confirmed);
    const inLastPart = start >= (this.#parts.at(-1)?.start ?? 0);
    if (tokenIds.length === 0 || !inLastPart) return;
    const parent = last?.name ?? chain.root;
    this.#enter(cache, { parent, name: textName(parent, tokenIds), tokenIds }, this.#textContent(start));
  }

  #newChain(tokenIds: readonly number[] | undefined): ContentChain | undefined {
    const { content } = this.request;
    if (!content || !tokenIds) return undefined;
    const pictures = this.#pictures.flatMap((picture) => picture.content ?? []);
    if (pictures.length < this.#pictures.length) return undefined;
    return new ContentChain(content.root, this.#parts, pictures, tokenIds, this.shape.blockTokens);
  }

  #takeEntries(): readonly CacheEntry[] {
    const entries = this.#entries;
    this.#entries = [];
    return entries;
  }

  #enter(cache: PrefixCache, unit: Parameters<PrefixCache['insert']>[0], content: CachedContent): void {
    const entry = cache.insert(unit, content);
    if (entry) this.#entries.push(entry);
  }

  #textContent(start: number): CachedContent {
    const { part, start: begin } = this.#partAt(start);
    const index = this.#parts.indexOf(part);
    const raw = this.#held.find((each) => each.part === index);
    const block = raw?.kind === 'raw' ? raw.blocks[(start - begin) / this.shape.blockTokens] : undefined;
    if (block === undefined) throw new Error('text is named that is not there');
    return { kind: 'text', block };
  }

  #pictureContent(part: number): CachedContent {
    const held = this.#held.filter((each) => each.part === part);
    const capsule = held.find((each) => each.kind === 'capsule');
    const raw = held.find((each) => each.kind === 'raw');
    return {
      kind: 'picture',
      capsule: capsule && { format: capsule.profile, tokens: capsule.tokens, pages: capsule.pages },
      raw: raw && { tokens: raw.tokens, blocks: raw.blocks },
    };
  }

  #runsOf(segment: HeldSegment): number[] {
    const { pagesPerBlock } = this.shape;
    return segment.kind === 'capsule'
      ? capsuleRuns(segment.pages, pagesPerBlock)
      : segment.blocks.map((block) => block * pagesPerBlock);
  }

  #capsuleBlocks(
    source: Pick<PageSource, 'tailTakesBlock'>,
    { pages }: Pick<SpanCapsule, 'pages'>,
    restRows: number,
  ): number {
    const tail = pages % this.shape.pagesPerBlock;
    const whole = (pages - tail) / this.shape.pagesPerBlock;
    return whole + (source.tailTakesBlock(tail) ? 1 : 0) + rawBlocks(restRows, this.shape);
  }

  /** The part of the prompt that a token lies in, and where it begins and ends; the last one ends with the text. */
  #partAt(token: number): { part: PromptSegment; start: number; end: number } {
    const part = this.#parts.findLast(({ start }) => start <= token);
    if (!part) throw new Error('a sequence without tokens is scheduled');
    const last = part === this.#parts.at(-1);
    return { part, start: part.start, end: last ? this.totalTokens : part.start + part.length };
  }

  #appendRaw(part: number, blocks: readonly number[], tokens: number): void {
    const last = this.#held.at(-1);
    if (last?.kind === 'raw' && last.part === part) {
      last.blocks.push(...blocks);
      last.tokens += tokens;
    } else {
      this.#held.push({ kind: 'raw', part, blocks: [...blocks], tokens });
    }
  }

  /** Rebuilds the engine's table from what is held. */
  #attachHeld({ changes }: SequenceWork): void {
    this.#held.forEach((each, segment) => {
      const { slot } = this;
      if (each.kind === 'capsule') {
        const { profile, tokens, pages } = each;
        changes.push({ kind: 'attachCapsule', slot, profile, tokens, pages: [...pages] });
      } else {
        const { tokens, blocks } = each;
        changes.push({ kind: 'segment', slot });
        changes.push({ kind: 'attachBlocks', slot, segment, tokens, blocks: [...blocks] });
      }
    });
  }

  #addChunk(budget: number, work: SequenceWork, source: PageSource): void {
    const { part, start, end } = this.#partAt(this.computed);
    const rows = Math.min(budget, end - this.computed);
    const missing =
      rawBlocks(this.computed - start + rows, this.shape) - rawBlocks(this.computed - start, this.shape);
    const taken = source.takeBlocks(missing);
    const { id, slot } = this;
    if (this.computed === start) work.changes.push({ kind: 'segment', slot });
    this.#appendRaw(this.#parts.indexOf(part), taken, rows);
    const segment = this.#held.length - 1;
    if (taken.length > 0) work.changes.push({ kind: 'blocks', slot, segment, blocks: taken });
    work.chunks.push({ id, slot, segment, start: this.computed, rows, picture: part.picture });
    work.rows += rows;
    this.computed += rows;
    const picture = part.picture === undefined ? undefined : this.#pictures[part.picture];
    if (picture?.capsule && this.computed === end) this.#uncompressed = picture;
  }

  /** Puts capsule and rest rows in the place of the segment `at` of the table and frees its pages. */
  #compress(
    at: number,
    capsule: SpanCapsule,
    restRows: readonly number[],
    source: PageSource,
    changes: PageChange[],
  ): void {
    const span = this.#held[at];
    if (!span) throw new Error('there is no span to compress');
    const pages = source.takeCapsule(capsule.pages);
    const blocks = source.takeBlocks(rawBlocks(restRows.length, this.shape));
    const { profile } = capsule;
    changes.push({ kind: 'compress', slot: this.slot, segment: at, profile, pages, blocks, restRows });
    const { part } = span;
    const rest: HeldSegment[] =
      restRows.length > 0 ? [{ kind: 'raw', part, blocks, tokens: restRows.length }] : [];
    const tokens = span.tokens - restRows.length;
    this.#held.splice(at, 1, { kind: 'capsule', part, pages, tokens, profile }, ...rest);
    source.release(this.#runsOf(span));
  }

  #recompressible():
    | {
        readonly at: number;
        readonly picture: number;
        readonly pressure: NonNullable<ScheduledPicture['underPressure']>;
      }
    | undefined {
    for (const [at, each] of this.#held.entries()) {
      const { picture = -1, length } = this.#parts[each.part] ?? {};
      const { capsule, underPressure: pressure } = this.#pictures[picture] ?? {};
      // a span that is not yet in the form it was admitted for is compressed to that one first
      const inForm = each.tokens === length && (each.kind === 'capsule') === (capsule !== undefined);
      if (pressure && inForm) return { at, picture, pressure };
    }
    return undefined;
  }
}

function blockOf(content: CachedContent): number {
  if (content.kind !== 'text') throw new Error('only a block of text is gone on in');
  return content.block;
}
