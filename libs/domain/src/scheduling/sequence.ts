import { ContentChain, type ContentUnit, textName } from '../identity/index.js';
import {
  type BlockShape,
  type CacheEntry,
  type CachedContent,
  type PrefixCache,
  type PrefixMatch,
  promptSegments,
  rawBlocks,
} from '../paging/index.js';
import { type KeptSpan, keptSpans } from './description.js';
import {
  blockOf,
  cachedBlocks,
  cut,
  type HeldRaw,
  type HeldSegment,
  isSmaller,
  pagesOf,
  type RecompressiblePicture,
  runsOf,
} from './held.js';
import type { SegmentPages } from './holdings.js';
import { CapsuleBlocks, type Span, spanAt, type SpanRules } from './spans.js';
import type {
  PageChange,
  Recompression,
  ScheduledPicture,
  ScheduledRequest,
  SpanCapsule,
  StepChunk,
  TextForm,
} from './step.js';

/** Where a sequence gets its pages. The caller of `advance` has made sure that they are there. */
export interface PageSource {
  takeBlocks(count: number): number[];
  takeCapsule(pages: number): number[];
  release(runs: readonly number[]): void;
  /** Whether a capsule's tail would begin a block of its own. */
  tailTakesBlock(pages: number): boolean;
  /** Whether nobody else uses a run of pages; the cache's own hold on it does not count. */
  ownedAlone(run: number): boolean;
  /** Entries of the cache that are used no more. */
  leave(entries: readonly CacheEntry[]): void;
}

export type TailRoom = Pick<PageSource, 'tailTakesBlock'>;

/** What one sequence does in one step. */
export interface SequenceWork {
  readonly changes: PageChange[];
  readonly chunks: StepChunk[];
  rows: number;
  /** The last row's next token is wanted. */
  samples: boolean;
}

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
  /** `generated` when it last began alone in an empty pool. */
  generatedAtRestart = -1;

  readonly #parts: SpanRules['parts'];
  #pictures: readonly ScheduledPicture[];
  /** How text is kept from its beginning. */
  #text: TextForm | undefined;
  #chain: ContentChain | undefined;
  /** As in the engine's table. */
  #held: HeldSegment[] = [];
  /** A complete raw span at the end of the table that waits for its compression. */
  #uncompressed: Span | undefined;
  /** Entries of the prefix cache that it uses, in the order of its units. */
  #entries: CacheEntry[] = [];
  /** Units of the chain that are in the cache, or were there already. */
  #named = 0;
  /** Tokens whose step has ended. */
  #confirmed = 0;
  /** Something it had attended to was compressed after all: what it computes since then has no name. */
  #tainted = false;
  /** Some of its text was. */
  #textPressed = false;

  constructor(
    readonly request: ScheduledRequest,
    /** Order of arrival; lower is older. */
    readonly arrival: number,
    readonly shape: BlockShape,
  ) {
    this.id = request.id;
    this.priority = request.priority ?? 0;
    this.#pictures = request.pictures;
    this.#text = request.text;
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
    return this.#held.flatMap((segment) => runsOf(segment, this.shape));
  }

  /** Pages in the order of its table; what a swap moves. */
  get pages(): number[] {
    return this.#held.flatMap((segment) => pagesOf(segment, this.shape));
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

  /** Rows of one step at most: up to the end of a span that is compressed before the next row. */
  get rowsInStep(): number {
    for (let at = this.computed; at < this.totalTokens;) {
      const { end, capsule } = this.#spanAt(at);
      if (capsule) return end - this.computed;
      at = end;
    }
    return this.totalTokens - this.computed;
  }

  /**
   * Blocks that the next `rows` rows take beyond those held, at their worst moment; all rows that are missing, with
   * the compressions between them, when `rows` is left out.
   */
  blocksFor(source: TailRoom, rows = Infinity, from = this.computed): number {
    const capsules = new CapsuleBlocks(source, this.shape);
    let raw = 0;
    let peak = 0;
    let at = from;
    let left = Math.min(rows, this.totalTokens - from);
    let pending = from === this.computed ? this.#uncompressed : undefined;
    // what others use too is not given back
    let shared = cachedBlocks(this.#held.at(-1));
    while (left > 0) {
      if (pending?.capsule) {
        if (at > from && rows !== Infinity) break;
        capsules.add(pending.capsule.pages);
        raw += rawBlocks(pending.restRows.length, this.shape);
        peak = Math.max(peak, raw + capsules.blocks);
        raw -= rawBlocks(pending.end - pending.start, this.shape) - shared;
        shared = 0;
        pending = undefined;
      }
      const span = this.#spanAt(at);
      const taken = Math.min(left, span.end - at);
      raw += rawBlocks(at - span.start + taken, this.shape) - rawBlocks(at - span.start, this.shape);
      peak = Math.max(peak, raw + capsules.blocks);
      at += taken;
      left -= taken;
      if (at === span.end) pending = span;
    }
    return peak;
  }

  /** Blocks that its pages take when they come back. */
  blocksToRestore(source: TailRoom): number {
    const capsules = new CapsuleBlocks(source, this.shape);
    let raw = 0;
    for (const each of this.#held) {
      if (each.kind === 'raw') raw += each.blocks.length;
      else capsules.add(each.pages.length);
    }
    return raw + capsules.blocks;
  }

  /** The same where no tail finds room beside another. */
  get blocksToRestoreApart(): number {
    const { pagesPerBlock } = this.shape;
    return this.#held.reduce(
      (sum, each) => sum + Math.ceil(pagesOf(each, this.shape).length / pagesPerBlock),
      0,
    );
  }

  /** Begins with a cached prefix. Its entries' pages are shared already; `copy` is a fresh block for its partial one. */
  attach(match: PrefixMatch, copy: number | undefined, work: SequenceWork): void {
    this.#entries = [...match.entries];
    const units = this.#chain?.units ?? [];
    this.#named = match.entries.findIndex((entry, index) => entry.name !== units[index]?.name);
    if (this.#named < 0) this.#named = match.entries.length;
    for (const { content, tokenIds } of match.entries) {
      if (content.kind === 'text') {
        this.#appendRaw([content.block], tokenIds.length, 1);
        continue;
      }
      const { capsule, raw } = content;
      const { start, picture } = this.#spanAt(this.computed);
      if (capsule) {
        const { format: profile, tokens, pages } = capsule;
        this.#held.push({ kind: 'capsule', start, picture, pages: [...pages], tokens, profile });
      }
      if (raw) {
        const { blocks, tokens } = raw;
        this.#held.push({ kind: 'raw', start, picture, blocks: [...blocks], tokens, cached: blocks.length });
      }
      this.computed += tokenIds.length;
    }
    if (match.partial && copy !== undefined) {
      work.changes.push({ kind: 'copyBlock', from: blockOf(match.partial.entry.content), to: copy });
      this.#appendRaw([copy], match.partial.tokens);
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
    const tailOf = (segment: HeldSegment | undefined): number =>
      segment?.kind === 'capsule' ? segment.pages.length % this.shape.pagesPerBlock : 0;
    // equal tails one after the other fill their blocks, as was counted
    const order = [...this.#held.keys()].sort((a, b) => tailOf(this.#held[a]) - tailOf(this.#held[b]));
    for (const at of order) {
      const segment = this.#held[at];
      if (segment?.kind === 'raw')
        this.#held[at] = { ...segment, blocks: source.takeBlocks(segment.blocks.length), cached: 0 };
      else if (segment) this.#held[at] = { ...segment, pages: source.takeCapsule(segment.pages.length) };
    }
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
    if (this.#textPressed) this.#text = this.request.textUnderPressure;
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
   * Adds up to `budget` rows to the work. Stops at the end of a span that is to be compressed: what follows attends
   * to the capsule, so it belongs to a later step.
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

  /** How its prompt is kept, or will be once it is computed. */
  describe(): KeptSpan[] {
    const rules = { parts: this.#parts, pictures: this.#pictures, text: this.#text };
    const { promptTokens, textUnderPressure } = this.request;
    return keptSpans({ ...rules, promptTokens, textUnderPressure, held: this.#held, shape: this.shape });
  }

  /** Blocks that compressing its next picture under pressure takes; `undefined` when it has none to compress. */
  blocksToRecompress(source: TailRoom): number | undefined {
    const found = this.#recompressible();
    return found && this.#capsuleBlocks(source, found.pressure.capsule, found.pressure.restRows.length);
  }

  /** The same for the largest of its pictures, computed or not, and the runs of its text; 0 when it has none. */
  mostBlocksToRecompress(source: TailRoom): number {
    return this.#pictures.reduce(
      (most, { underPressure }) => {
        if (!underPressure) return most;
        const { capsule, restRows } = underPressure;
        return Math.max(most, this.#capsuleBlocks(source, capsule, restRows.length));
      },
      this.blocksToRecompressText(source) ?? 0,
    );
  }

  /** Blocks that compressing a run of its text under pressure takes; `undefined` when that may not be. */
  blocksToRecompressText(source: TailRoom): number | undefined {
    const form = this.#pressableText;
    return form && this.#capsuleBlocks(source, form.capsule, 0);
  }

  /** Whether compressing a run of its text would give pages back. */
  hasTextToRecompress(source: PageSource): boolean {
    return this.#pressableRun(source) !== undefined;
  }

  /** Compresses the first run of text that gives pages back. */
  recompressText(source: PageSource, changes: PageChange[]): Recompression {
    const form = this.#pressableText;
    const found = this.#pressableRun(source);
    if (!form || !found) throw new Error('there is no raw text to compress');
    const at = found.offset > 0 ? found.at + 1 : found.at;
    if (found.offset > 0) this.#split(found.at, found.offset, changes);
    const run = this.#held[at];
    if ((run?.tokens ?? 0) > form.tokens) this.#split(at, form.tokens, changes);
    this.#compress(at, form.capsule, [], source, changes);
    this.#tainted = true;
    this.#textPressed = true;
    return { id: this.id, picture: undefined, start: run?.start ?? 0 };
  }

  /** Compresses a picture that it has attended to. Returns which. */
  recompress(source: PageSource, changes: PageChange[]): Recompression {
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
    this.#leave(source, (entry) => entry.name === name);
    return { id: this.id, picture };
  }

  /** A step has ended: its rows up to `tokens` are there, and what they complete is named. */
  confirm(tokens: number, cache: PrefixCache): void {
    this.#confirmed = Math.max(this.#confirmed, tokens);
    const units = this.#tainted ? [] : (this.#chain?.units ?? []);
    for (let unit = units[this.#named]; unit; unit = units[this.#named]) {
      const end = unit.start + unit.tokenIds.length;
      const picture = unit.picture === undefined ? undefined : this.#pictures[unit.picture];
      // a capsule is made at the head of the step after its span's last rows
      if (picture?.capsule || unit.run ? this.#confirmed <= end : this.#confirmed < end) return;
      const content = this.#contentOf(unit);
      if (!content) throw new Error('content is named that is not there');
      this.#enter(cache, unit, content);
      this.#named += 1;
    }
  }

  /** Names the text at its end that fills no block or run; nothing more is written there. */
  sealTail(cache: PrefixCache): void {
    const chain = this.#chain;
    if (!chain || this.#tainted || this.swapped) return;
    const last = chain.units[this.#named - 1];
    let parent = last?.name ?? chain.root;
    let start = last ? last.start + last.tokenIds.length : 0;
    if (start < (this.#parts.at(-1)?.start ?? 0)) return;
    while (start < this.#confirmed) {
      const end = Math.min(start + this.shape.blockTokens, this.#confirmed);
      const tokenIds = chain.slice(start, end);
      const name = textName(parent, tokenIds);
      const content = this.#textContent(start);
      // a run that the step under way compresses is neither
      if (!content) return;
      this.#enter(cache, { parent, name, tokenIds }, content);
      parent = name;
      start = end;
    }
  }

  #newChain(tokenIds: readonly number[] | undefined): ContentChain | undefined {
    const { content } = this.request;
    if (!content || !tokenIds) return undefined;
    const pictures = this.#pictures.flatMap((picture) => picture.content ?? []);
    if (pictures.length < this.#pictures.length) return undefined;
    const { blockTokens } = this.shape;
    return new ContentChain(content.root, this.#parts, pictures, tokenIds, blockTokens, this.#text);
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

  #contentOf({ run, picture, start }: ContentUnit): CachedContent | undefined {
    if (run) return this.#spanContent('run', start);
    return picture === undefined ? this.#textContent(start) : this.#spanContent('picture', start);
  }

  #textContent(start: number): CachedContent | undefined {
    const raw = this.#held.findLast((each) => each.start <= start);
    const block = raw?.kind === 'raw' ? raw.blocks[(start - raw.start) / this.shape.blockTokens] : undefined;
    return block === undefined ? undefined : { kind: 'text', block };
  }

  #spanContent(kind: 'picture' | 'run', start: number): CachedContent {
    const held = this.#held.filter((each) => each.start === start);
    const capsule = held.find((each) => each.kind === 'capsule');
    const raw = held.find((each) => each.kind === 'raw');
    return {
      kind,
      capsule: capsule && { format: capsule.profile, tokens: capsule.tokens, pages: capsule.pages },
      raw: raw && { tokens: raw.tokens, blocks: raw.blocks },
    };
  }

  #capsuleBlocks(source: TailRoom, { pages }: SpanCapsule, restRows: number): number {
    const capsules = new CapsuleBlocks(source, this.shape);
    capsules.add(pages);
    return capsules.blocks + rawBlocks(restRows, this.shape);
  }

  #spanAt(token: number): Span {
    const rules = { parts: this.#parts, pictures: this.#pictures, text: this.#text };
    return spanAt(rules, token, this.totalTokens);
  }

  /** Whether the next row goes on in the last segment of the table. */
  #goesOn(last: HeldSegment | undefined): last is HeldRaw {
    return last?.kind === 'raw' && this.computed > this.#spanAt(this.computed).start;
  }

  /** Rows that come next, and blocks for them; `cached` of the blocks are entries of the cache. */
  #appendRaw(blocks: readonly number[], tokens: number, cached = 0): void {
    const last = this.#held.at(-1);
    if (this.#goesOn(last)) {
      last.blocks.push(...blocks);
      last.tokens += tokens;
      last.cached += cached;
    } else {
      const { picture } = this.#spanAt(this.computed);
      this.#held.push({ kind: 'raw', start: this.computed, picture, blocks: [...blocks], tokens, cached });
    }
    this.computed += tokens;
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
    const at = this.computed;
    const span = this.#spanAt(at);
    const rows = Math.min(budget, span.end - at);
    const missing = rawBlocks(at - span.start + rows, this.shape) - rawBlocks(at - span.start, this.shape);
    const taken = source.takeBlocks(missing);
    const { id, slot } = this;
    if (!this.#goesOn(this.#held.at(-1))) work.changes.push({ kind: 'segment', slot });
    this.#appendRaw(taken, rows);
    const segment = this.#held.length - 1;
    if (taken.length > 0) work.changes.push({ kind: 'blocks', slot, segment, blocks: taken });
    work.chunks.push({ id, slot, segment, start: at, rows, picture: span.picture });
    work.rows += rows;
    if (span.capsule && this.computed === span.end) this.#uncompressed = span;
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
    const { start, picture } = span;
    const place = { start, picture };
    const rest: HeldSegment[] =
      restRows.length > 0 ? [{ ...place, kind: 'raw', blocks, tokens: restRows.length, cached: 0 }] : [];
    const tokens = span.tokens - restRows.length;
    this.#held.splice(at, 1, { ...place, kind: 'capsule', pages, tokens, profile }, ...rest);
    source.release(runsOf(span, this.shape));
    if (span.kind === 'raw' && picture === undefined)
      this.#leave(source, ({ content }) => content.kind === 'text' && span.blocks.includes(content.block));
  }

  /** Uses some entries of the cache no more. */
  #leave(source: PageSource, which: (entry: CacheEntry) => boolean): void {
    const left = this.#entries.filter(which);
    if (left.length === 0) return;
    this.#entries = this.#entries.filter((entry) => !which(entry));
    source.leave(left);
  }

  /** Cuts a raw segment in two; the first one keeps `tokens` tokens, whole blocks. */
  #split(at: number, tokens: number, changes: PageChange[]): void {
    const whole = this.#held[at];
    if (whole?.kind !== 'raw') throw new Error('only raw rows are cut');
    changes.push({ kind: 'split', slot: this.slot, segment: at, tokens });
    this.#held.splice(at, 1, ...cut(whole, tokens / this.shape.blockTokens, this.shape));
  }

  /** What its text may become under pressure, while it is raw. */
  get #pressableText(): TextForm | undefined {
    return this.#text ? undefined : this.request.textUnderPressure;
  }

  #pressableRun(source: PageSource): { readonly at: number; readonly offset: number } | undefined {
    const form = this.#pressableText;
    if (!form) return undefined;
    const { blockTokens, pagesPerBlock } = this.shape;
    for (const [at, each] of this.#held.entries()) {
      if (each.kind !== 'raw' || each.picture !== undefined) continue;
      for (let offset = 0; offset + form.tokens <= each.tokens; offset += form.tokens) {
        const first = offset / blockTokens;
        const blocks = each.blocks.slice(first, first + form.tokens / blockTokens);
        const own = blocks.filter((block) => source.ownedAlone(block * pagesPerBlock));
        if (own.length * pagesPerBlock > form.capsule.pages) return { at, offset };
      }
    }
    return undefined;
  }

  #recompressible(): RecompressiblePicture | undefined {
    for (const [at, each] of this.#held.entries()) {
      const { picture = -1 } = each;
      const { capsule, underPressure: pressure, length } = this.#pictures[picture] ?? {};
      // a span that is not yet in the form it was admitted for is compressed to that one first
      const inForm = each.tokens === length && (each.kind === 'capsule') === (capsule !== undefined);
      if (pressure && inForm && isSmaller(pressure, each, this.shape)) return { at, picture, pressure };
    }
    return undefined;
  }
}
