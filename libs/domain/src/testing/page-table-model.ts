import type { PageChange } from '../scheduling/index.js';

export interface ModelShape {
  readonly blocks: number;
  readonly blockTokens: number;
  readonly pagesPerBlock: number;
  /** Where a step is to be held to what its formats take. */
  readonly formats?: ModelFormats;
}

export interface ModelFormats {
  /** Pages of so many rows; undefined where the format does not exist or does not keep that many. */
  readonly pagesOf: (format: number, tokens: number) => number | undefined;
  /** Whether it keeps one number of rows only; such rows go into no other format. */
  readonly fitted: (format: number) => boolean;
}

/** What lies in a block, or in the pages of a span that is stored in a format. */
interface Content<Row> {
  /** Formats that the rows went through, the last one last; none: raw. */
  readonly formats: readonly number[];
  readonly pages: readonly number[];
  readonly rows: Row[];
}

type Segment =
  | { readonly kind: 'raw'; blocks: number[]; tokens: number }
  | { readonly kind: 'stored'; readonly pages: readonly number[] };

/** Rows of one segment as later rows see them. */
export interface SeenRows<Row> {
  readonly formats: readonly number[];
  readonly rows: readonly Row[];
}

/** Pages that were read out: what lay at which place among them. */
export type KeptPages<Row> = readonly { readonly at: number; readonly content: Content<Row> }[];

/**
 * An engine's page tables without an engine. It refuses what would spoil pages: a write where another sequence reads,
 * an attachment of what is not there, a span cut where it cannot be. What a row is, is the user's.
 */
export class PageTableModel<Row> {
  readonly #slots = new Map<number, Segment[]>();
  /** By page, also when nobody uses it any more. */
  readonly #contents = new Map<number, Content<Row>>();
  /** By page: how many segments use it. */
  readonly #users = new Map<number, number>();

  constructor(private readonly shape: ModelShape) {}

  get openSlots(): readonly number[] {
    return [...this.#slots.keys()];
  }

  /** Pages that some sequence uses. */
  get usedPages(): number {
    return [...this.#users.values()].filter((users) => users > 0).length;
  }

  uses(page: number): number {
    return this.#users.get(page) ?? 0;
  }

  /** All segments of a slot in their order. */
  rows(slot: number): readonly SeenRows<Row>[] {
    return this.#slot(slot).map((segment) => ({
      formats: this.#formatsOf(segment),
      rows: this.#rowsOf(segment),
    }));
  }

  /** Writes a row behind a raw segment's last one. */
  append(slot: number, segment: number, row: Row): void {
    const { blockTokens, pagesPerBlock } = this.shape;
    const raw = this.#slot(slot)[segment];
    const block = raw?.kind === 'raw' ? raw.blocks[Math.floor(raw.tokens / blockTokens)] : undefined;
    if (raw?.kind !== 'raw' || block === undefined) throw new Error('no room for a row');
    const page = block * pagesPerBlock;
    if (this.uses(page) !== 1) throw new Error('a row is written where others read');
    // rows beyond the segment's own are left over from the block that this one is a copy of
    this.#contents.get(page)?.rows.splice(raw.tokens % blockTokens, blockTokens, row);
    raw.tokens += 1;
  }

  read(pages: readonly number[]): KeptPages<Row> {
    return pages.flatMap((page, at) => {
      const content = this.#contents.get(page);
      if (!content || content.pages[0] !== page) return [];
      return [{ at, content: { ...content, rows: [...content.rows] } }];
    });
  }

  write(pages: readonly number[], kept: KeptPages<Row>): void {
    for (const { at, content } of kept)
      this.#put(content.formats, pages.slice(at, at + content.pages.length), [...content.rows]);
  }

  apply(change: PageChange): void {
    if (change.kind === 'copyBlock') {
      const rows = this.#contents.get(change.from * this.shape.pagesPerBlock)?.rows;
      if (!rows) throw new Error('a block is copied that holds nothing');
      if (change.from === change.to) throw new Error('a block is copied onto itself');
      this.#fresh([], this.#pagesOf(change.to), [...rows]);
      return;
    }
    if (change.kind === 'open') {
      if (this.#slots.has(change.slot)) throw new Error('the slot is open already');
      this.#slots.set(change.slot, []);
      return;
    }
    const segments = this.#slot(change.slot);
    switch (change.kind) {
      case 'close':
        for (const segment of segments) this.#drop(segment);
        this.#slots.delete(change.slot);
        return;
      case 'segment':
        segments.push({ kind: 'raw', blocks: [], tokens: 0 });
        return;
      case 'attachStored':
        this.#attachStored(segments, change);
        return;
      case 'compress':
        this.#compress(segments, change);
        return;
      case 'split':
        this.#split(segments, change);
        return;
      case 'blocks':
        for (const block of change.blocks) this.#fresh([], this.#pagesOf(block), []);
        this.#addBlocks(segments, change.segment, change.blocks, 0);
        return;
      case 'attachBlocks':
        this.#attachBlocks(segments, change);
    }
  }

  #attachStored(segments: Segment[], change: PageChange & { kind: 'attachStored' }): void {
    const { pages, tokens, format } = change;
    const content = this.#use(pages);
    if (content.rows.length !== tokens || content.formats.at(-1) !== format)
      throw new Error('a stored span of another format');
    this.#checkPages(format, tokens, pages);
    segments.push({ kind: 'stored', pages });
  }

  #attachBlocks(segments: Segment[], change: PageChange & { kind: 'attachBlocks' }): void {
    const { blockTokens } = this.shape;
    const raw = segments[change.segment];
    const full = raw?.kind === 'raw' && raw.tokens === raw.blocks.length * blockTokens;
    if (!full || Math.ceil(change.tokens / blockTokens) !== change.blocks.length)
      throw new Error('attached blocks do not follow a full segment');
    this.#addBlocks(segments, change.segment, change.blocks, change.tokens);
  }

  #addBlocks(segments: Segment[], at: number, blocks: readonly number[], tokens: number): void {
    const raw = segments[at];
    if (raw?.kind !== 'raw') throw new Error('blocks for a segment that is not raw');
    let left = tokens;
    for (const block of blocks) {
      const { formats, rows } = this.#use(this.#pagesOf(block));
      if (formats.length > 0 || rows.length < Math.min(left, this.shape.blockTokens))
        throw new Error('rows that are not there');
      left -= Math.min(left, this.shape.blockTokens);
    }
    raw.blocks.push(...blocks);
    raw.tokens += tokens;
    if (new Set(raw.blocks).size < raw.blocks.length) throw new Error('a block occurs twice in the segment');
  }

  #compress(segments: Segment[], change: PageChange & { kind: 'compress' }): void {
    const source = segments[change.segment];
    if (!source) throw new Error('no span to compress');
    const { pages, blocks, format, restRows } = change;
    const rows = this.#rowsOf(source);
    const last = this.#formatsOf(source).at(-1);
    if (last !== undefined && this.shape.formats?.fitted(last))
      throw new Error('the span is fitted, not rows');
    if (restRows.some((row, at) => row < 0 || row >= rows.length || row <= (restRows[at - 1] ?? -1)))
      throw new Error('rest rows are out of range or do not ascend');
    const rest = new Set(restRows);
    const covered = rows.filter((_, row) => !rest.has(row));
    const left = rows.filter((_, row) => rest.has(row));
    const { blockTokens } = this.shape;
    if (blocks.length !== Math.ceil(left.length / blockTokens))
      throw new Error('not as many blocks as rest rows');
    this.#checkPages(format, covered.length, pages);
    // what was lossy before is not what it would be if it came from raw rows
    this.#fresh([...this.#formatsOf(source), format], pages, covered);
    blocks.forEach((block, index) => {
      this.#fresh([], this.#pagesOf(block), left.slice(index * blockTokens, (index + 1) * blockTokens));
    });
    this.#use(pages);
    for (const block of blocks) this.#use(this.#pagesOf(block));
    this.#drop(source);
    const kept: Segment[] =
      left.length > 0 ? [{ kind: 'raw', blocks: [...blocks], tokens: left.length }] : [];
    segments.splice(change.segment, 1, { kind: 'stored', pages }, ...kept);
  }

  #split(segments: Segment[], { segment, tokens }: PageChange & { kind: 'split' }): void {
    const whole = segments[segment];
    if (
      whole?.kind !== 'raw' ||
      tokens % this.shape.blockTokens !== 0 ||
      tokens <= 0 ||
      tokens >= whole.tokens
    )
      throw new Error('a segment is cut where it cannot be');
    const blocks = whole.blocks.splice(tokens / this.shape.blockTokens);
    segments.splice(segment + 1, 0, { kind: 'raw', blocks, tokens: whole.tokens - tokens });
    whole.tokens = tokens;
  }

  #checkPages(format: number, tokens: number, pages: readonly number[]): void {
    const { formats, pagesPerBlock } = this.shape;
    if (formats && formats.pagesOf(format, tokens) !== pages.length)
      throw new Error('not as many pages as the format takes');
    if (pages.some((page, at) => at % pagesPerBlock > 0 && page !== (pages[at - 1] ?? 0) + 1))
      throw new Error('the pages of a run are not consecutive');
    if (pages.some((page, at) => at % pagesPerBlock > 0 && page % pagesPerBlock === 0))
      throw new Error('a run of pages crosses into the next block');
    if (new Set(pages).size < pages.length) throw new Error('a page is named twice');
  }

  /** Fresh pages, which no sequence may be using. */
  #fresh(formats: readonly number[], pages: readonly number[], rows: Row[]): void {
    const used = pages.find((page) => this.uses(page) > 0);
    if (used !== undefined) throw new Error(`page ${used} is in use`);
    this.#put(formats, pages, rows);
  }

  #put(formats: readonly number[], pages: readonly number[], rows: Row[]): void {
    const { blocks, pagesPerBlock } = this.shape;
    const content = { formats, pages, rows };
    for (const page of pages) {
      if (page < 0 || page >= blocks * pagesPerBlock) throw new Error(`page ${page} is out of range`);
      const before = this.#contents.get(page);
      for (const other of before?.pages ?? [])
        if (this.#contents.get(other) === before) this.#contents.delete(other);
      this.#contents.set(page, content);
    }
  }

  #use(pages: readonly number[]): Content<Row> {
    const content = this.#contents.get(pages[0] ?? -1);
    if (!content || pages.some((page, index) => content.pages[index] !== page))
      throw new Error('pages that do not hold what is attached');
    for (const page of pages) this.#users.set(page, this.uses(page) + 1);
    return content;
  }

  #drop(segment: Segment): void {
    for (const page of this.#allPages(segment)) this.#users.set(page, this.uses(page) - 1);
  }

  #allPages(segment: Segment): readonly number[] {
    return segment.kind === 'stored'
      ? segment.pages
      : segment.blocks.flatMap((block) => this.#pagesOf(block));
  }

  #formatsOf(segment: Segment): readonly number[] {
    return segment.kind === 'raw' ? [] : (this.#contents.get(segment.pages[0] ?? -1)?.formats ?? []);
  }

  #rowsOf(segment: Segment): readonly Row[] {
    if (segment.kind === 'stored') return this.#contents.get(segment.pages[0] ?? -1)?.rows ?? [];
    return segment.blocks
      .flatMap((block) => this.#contents.get(block * this.shape.pagesPerBlock)?.rows ?? [])
      .slice(0, segment.tokens);
  }

  #slot(slot: number): Segment[] {
    const segments = this.#slots.get(slot);
    if (!segments) throw new Error(`slot ${slot} is not open`);
    return segments;
  }

  #pagesOf(block: number): number[] {
    const { pagesPerBlock } = this.shape;
    return Array.from({ length: pagesPerBlock }, (_, page) => block * pagesPerBlock + page);
  }
}
