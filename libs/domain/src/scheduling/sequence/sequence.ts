import type { ContentChain } from '../../identity/index.js';
import {
  type BlockShape,
  type CacheEntry,
  type PrefixCache,
  type PrefixMatch,
  rawBlocks,
} from '../../paging/index.js';
import { type KeptSpan, keptSpans } from '../description.js';
import type { SegmentPages } from '../holdings.js';
import type { PageChange, Recompression, ScheduledRequest } from '../step.js';
import { blocksForRows, blocksToRestore, blocksToRestoreApart, storedBlocks } from './demand.js';
import { blockOf, type HeldRaw, type HeldSegment } from './held.js';
import { Naming } from './naming.js';
import type { PageSource, TailRoom } from './page-source.js';
import { type PressablePicture, pressablePicture, pressableRun, pressableText } from './pressable.js';
import { Progress } from './progress.js';
import type { Span } from './spans.js';
import { SequenceTable } from './table.js';
import { type GivenBack, type SequenceWork, UNREPORTED } from './work.js';

/** One request's place in the pool: how far it is computed and which pages it holds. */
export class Sequence {
  readonly id: string;
  readonly priority: number;
  /** Whose it is; empty where nobody is named. */
  readonly tenant: string;
  readonly progress: Progress;
  readonly table: SequenceTable;
  readonly naming: Naming;
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
  /** At the last `takeChanged`: its pages, and whether more than its newest token was missing. */
  reported = UNREPORTED;
  /** A complete raw span at the end of the table that waits for its compression. */
  #uncompressed: Span | undefined;
  /** Some of its text took the form it has under pressure. */
  #textPressed = false;
  /** Whether one of its pictures may become smaller under pressure. */
  readonly #hasPressure: boolean;

  constructor(
    readonly request: ScheduledRequest,
    /** Order of arrival; lower is older. */
    readonly arrival: number,
    readonly shape: BlockShape,
  ) {
    this.id = request.id;
    this.priority = request.priority ?? 0;
    this.tenant = request.content?.owner?.tenant ?? '';
    this.progress = new Progress(request, shape);
    this.table = new SequenceTable(shape);
    this.naming = new Naming(this.progress, this.table);
    this.#hasPressure = request.pictures.some(({ underPressure }) => underPressure !== undefined);
  }

  /** Names of what it has or will have; `undefined` when the request has not named its content. */
  get chain(): ContentChain | undefined {
    return this.naming.chain;
  }

  /** As in the engine's table; nothing while its bytes are kept elsewhere. */
  get segments(): readonly SegmentPages[] {
    return this.swapped ? [] : this.table.segments;
  }

  /** Blocks that its next rows take; see {@link blocksForRows}. */
  blocksFor(source: TailRoom, rows = Infinity, from = this.progress.computed): number {
    const pending = from === this.progress.computed ? this.#uncompressed : undefined;
    const place = { from, pending, shared: this.table.cachedBlocksAtEnd };
    return blocksForRows(this.progress, source, rows, place);
  }

  /** Blocks that its pages take when they come back. */
  blocksToRestore(source: TailRoom): number {
    return blocksToRestore(this.table.segments, source, this.shape);
  }

  /** The same where no tail finds room beside another. */
  get blocksToRestoreApart(): number {
    return blocksToRestoreApart(this.table.segments, this.shape);
  }

  /** How its prompt is kept, or will be once it is computed. */
  describe(): KeptSpan[] {
    const { parts, pictures, text } = this.progress;
    const { promptTokens, textUnderPressure } = this.request;
    const held = this.table.segments;
    return keptSpans({ parts, pictures, text, promptTokens, textUnderPressure, held, shape: this.shape });
  }

  /** Begins with a cached prefix. Its entries' pages are shared already; `copy` is a fresh block for its partial one. */
  attach(match: PrefixMatch, copy: number | undefined, work: SequenceWork): void {
    for (const entry of match.entries) this.#attachEntry(entry);
    if (match.partial && copy !== undefined) {
      work.changes.push({ kind: 'copyBlock', from: blockOf(match.partial.entry.content), to: copy });
      this.#appendRaw([copy], match.partial.tokens);
    }
    this.naming.attach(match);
    this.table.attachAll(this.slot, work.changes);
  }

  /** Its pages' bytes are being read: it holds none until `restore`. */
  swapOut(): GivenBack {
    const { runs } = this.table;
    this.swapped = true;
    this.slot = -1;
    this.reported = UNREPORTED;
    this.inSteps.clear();
    return { runs, entries: this.naming.takeEntries() };
  }

  /** Fresh pages for the bytes that were read; the table's pages are them afterwards, in the same order. */
  restore(source: PageSource, work: SequenceWork): void {
    this.table.restore(source);
    this.swapped = false;
    this.table.attachAll(this.slot, work.changes);
  }

  /** Forgets everything computed and hands over what it holds; what was generated stays part of the text. */
  reset(): GivenBack {
    const runs = this.swapped ? [] : this.table.runs;
    const entries = this.naming.takeEntries();
    this.table.clear();
    this.#uncompressed = undefined;
    // what is computed from here on attends to the stored runs from the start, and is named so
    if (this.#textPressed) this.progress.text = this.request.textUnderPressure;
    this.naming.reset();
    this.progress.computed = 0;
    this.slot = -1;
    this.reported = UNREPORTED;
    this.inSteps.clear();
    this.swapped = false;
    this.featuresFrom = this.progress.pictures.length;
    return { runs, entries };
  }

  /**
   * Adds up to `budget` rows to the work. Stops at the end of a span that is to be compressed: what follows attends
   * to the stored span, so it belongs to a later step.
   */
  advance(budget: number, work: SequenceWork, source: PageSource): void {
    const { progress } = this;
    while (work.rows < budget && progress.computed < progress.totalTokens) {
      if (this.#uncompressed) {
        if (work.rows > 0) break;
        const { stored, restRows } = this.#uncompressed;
        const at = this.table.segments.length - 1;
        const place = { slot: this.slot, source, changes: work.changes };
        if (stored) this.#leaveText(this.table.compress(at, stored, restRows, place), source);
        this.#uncompressed = undefined;
      }
      this.#addChunk(budget - work.rows, work, source);
    }
    work.samples = progress.computed === progress.totalTokens && work.rows > 0;
    if (work.samples) progress.generated += 1;
  }

  /** Blocks that compressing its next picture under pressure takes; `undefined` when it has none to compress. */
  blocksToRecompress(source: TailRoom): number | undefined {
    const found = this.#pressablePicture;
    if (!found) return undefined;
    const { stored, restRows } = found.pressure;
    return storedBlocks(source, stored, restRows.length, this.shape);
  }

  /** The same for the largest of its pictures, computed or not, and the runs of its text; 0 when it has none. */
  mostBlocksToRecompress(source: TailRoom): number {
    const text = this.blocksToRecompressText(source) ?? 0;
    if (!this.#hasPressure) return text;
    return this.progress.pictures.reduce((most, { underPressure }) => {
      if (!underPressure) return most;
      const { stored, restRows } = underPressure;
      return Math.max(most, storedBlocks(source, stored, restRows.length, this.shape));
    }, text);
  }

  /** Blocks that compressing a run of its text under pressure takes; `undefined` when that may not be. */
  blocksToRecompressText(source: TailRoom): number | undefined {
    const form = pressableText(this.progress);
    return form && storedBlocks(source, form.stored, 0, this.shape);
  }

  /** Whether compressing a run of its text would give pages back. */
  hasTextToRecompress(source: PageSource): boolean {
    return pressableRun(this.progress, this.table, source) !== undefined;
  }

  /** Compresses the first run of text that gives pages back. */
  recompressText(source: PageSource, changes: PageChange[]): Recompression {
    const form = pressableText(this.progress);
    const found = pressableRun(this.progress, this.table, source);
    if (!form || !found) throw new Error('there is no raw text to compress');
    const at = found.offset > 0 ? found.at + 1 : found.at;
    const place = { slot: this.slot, source, changes };
    if (found.offset > 0) this.table.split(found.at, found.offset, place);
    const run = this.table.segments[at];
    if ((run?.tokens ?? 0) > form.tokens) this.table.split(at, form.tokens, place);
    this.#leaveText(this.table.compress(at, form.stored, [], place), source);
    this.naming.taint();
    this.#textPressed = true;
    return { id: this.id, picture: undefined, start: run?.start ?? 0 };
  }

  /** Compresses a picture that it has attended to. Returns which. */
  recompress(source: PageSource, changes: PageChange[]): Recompression {
    const found = this.#pressablePicture;
    if (!found) throw new Error('there is no raw picture to compress');
    const { at, picture, pressure } = found;
    this.table.compress(at, pressure.stored, pressure.restRows, { slot: this.slot, source, changes });
    this.progress.press(picture);
    this.naming.taint();
    const name = this.chain?.units.find((unit) => unit.picture === picture)?.name;
    source.leave(this.naming.takeSome((entry) => entry.name === name));
    return { id: this.id, picture };
  }

  /** Names the text at its end that fills no block or run; nothing more is written there. */
  sealTail(cache: PrefixCache): void {
    if (!this.swapped) this.naming.sealTail(cache);
  }

  get #pressablePicture(): PressablePicture | undefined {
    return this.#hasPressure ? pressablePicture(this.progress, this.table) : undefined;
  }

  #attachEntry({ content, tokenIds }: CacheEntry): void {
    if (content.kind === 'text') {
      this.#appendRaw([content.block], tokenIds.length, 1);
      return;
    }
    const { stored, raw } = content;
    const { start, picture } = this.progress.spanAt(this.progress.computed);
    if (stored) {
      const { format, tokens, pages } = stored;
      this.table.push({ kind: 'stored', start, picture, pages: [...pages], tokens, format });
    }
    if (raw) {
      const { blocks, tokens } = raw;
      this.table.push({ kind: 'raw', start, picture, blocks: [...blocks], tokens, cached: blocks.length });
    }
    this.progress.computed += tokenIds.length;
  }

  /** Whether the next row goes on in the last segment of the table. */
  #goesOn(last: HeldSegment | undefined, { start }: Span): last is HeldRaw {
    return last?.kind === 'raw' && this.progress.computed > start;
  }

  /** Rows that come next, and blocks for them; `cached` of the blocks are entries of the cache. */
  #appendRaw(
    blocks: readonly number[],
    tokens: number,
    cached = 0,
    span = this.progress.spanAt(this.progress.computed),
  ): void {
    const { computed } = this.progress;
    const { last } = this.table;
    if (this.#goesOn(last, span)) this.table.extend(last, blocks, tokens, cached);
    else {
      const { picture } = span;
      this.table.push({ kind: 'raw', start: computed, picture, blocks: [...blocks], tokens, cached });
    }
    this.progress.computed += tokens;
  }

  #addChunk(budget: number, work: SequenceWork, source: PageSource): void {
    const at = this.progress.computed;
    const span = this.progress.spanAt(at);
    const rows = Math.min(budget, span.end - at);
    const missing = rawBlocks(at - span.start + rows, this.shape) - rawBlocks(at - span.start, this.shape);
    const taken = missing > 0 ? source.takeBlocks(missing) : [];
    const { id, slot } = this;
    if (!this.#goesOn(this.table.last, span)) work.changes.push({ kind: 'segment', slot });
    this.#appendRaw(taken, rows, 0, span);
    const segment = this.table.segments.length - 1;
    if (taken.length > 0) work.changes.push({ kind: 'blocks', slot, segment, blocks: taken });
    work.chunks.push({ id, slot, segment, start: at, rows, picture: span.picture });
    work.rows += rows;
    if (span.stored && this.progress.computed === span.end) this.#uncompressed = span;
  }

  /** Raw text that is gone is no content of the cache that it uses. */
  #leaveText(span: HeldSegment, source: PageSource): void {
    if (span.kind !== 'raw' || span.picture !== undefined) return;
    const blocks = new Set(span.blocks);
    const left = this.naming.takeSome(({ content }) => content.kind === 'text' && blocks.has(content.block));
    if (left.length > 0) source.leave(left);
  }
}
