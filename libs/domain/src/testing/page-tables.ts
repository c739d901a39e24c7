import type { PageChange, ScheduledRequest, ScheduledStep } from '../scheduling/index.js';

/** What lies in a block or a capsule: a number for each row that stands for its keys and values. */
interface Content {
  readonly profile: number | undefined;
  readonly rows: number[];
}

type TableSegment =
  | { readonly kind: 'raw'; readonly blocks: number[]; tokens: number }
  | { readonly kind: 'capsule'; readonly pages: readonly number[] };

const BLOCK_TOKENS = 16;
const BLOCK_PAGES = 8;

/**
 * An engine's page tables without an engine. It refuses what would spoil pages (a write where another sequence
 * reads, an attachment of what is not there), and a row's number depends on all that the row attends to and how that
 * was kept. So a sample is right exactly when nothing went wrong before it.
 */
export class PageTables {
  readonly #slots = new Map<number, TableSegment[]>();
  readonly #contents = new Map<number, Content>();
  readonly #users = new Map<number, number>();
  readonly #kept = new Map<string, Map<number, Content>>();

  constructor(readonly blocks: number) {}

  get openSlots(): number {
    return this.#slots.size;
  }

  /** Pages that some sequence uses. */
  get usedPages(): number {
    return [...this.#users.values()].filter((users) => users > 0).length;
  }

  /** Runs a step. Returns the token that each sample draws. */
  run(
    step: ScheduledStep,
    find: (id: string) => { request: ScheduledRequest; tokens: readonly number[] },
  ): number[] {
    this.prepare(step);
    const rows = step.chunks.flatMap((chunk) => {
      const segments = this.#slot(chunk.slot);
      const until = segments.slice(0, chunk.segment + 1);
      const count = (each: readonly TableSegment[]): number => each.flatMap((one) => this.#rows(one)).length;
      if (count(until) !== chunk.start || count(segments) !== chunk.start)
        throw new Error('a chunk does not follow what is there');
      const { request, tokens } = find(chunk.id);
      return Array.from({ length: chunk.rows }, (_, row) =>
        this.#append(until, request, tokens, chunk.start + row),
      );
    });
    return step.samples.map(({ row }) => tokenOf(rows[row] ?? 0));
  }

  /** Closes what is open of these slots. */
  close(slots: readonly number[]): void {
    for (const slot of slots) if (this.#slots.has(slot)) this.#change({ kind: 'close', slot });
  }

  /** All of a step that happens before its forward pass. */
  prepare(step: ScheduledStep): void {
    // who is closed reads nothing more, so its pages may be written before
    for (const change of step.changes) if (change.kind === 'close') this.#change(change);
    for (const { id, pages } of step.reads) this.#read(id, pages);
    for (const { id, pages } of step.writes) this.#write(id, pages);
    for (const change of step.changes) if (change.kind !== 'close') this.#change(change);
  }

  #append(
    segments: TableSegment[],
    request: ScheduledRequest,
    tokens: readonly number[],
    at: number,
  ): number {
    const raw = segments.at(-1);
    const block = raw?.kind === 'raw' ? raw.blocks[Math.floor(raw.tokens / BLOCK_TOKENS)] : undefined;
    if (raw?.kind !== 'raw' || block === undefined) throw new Error('no room for a row');
    if (this.#users.get(block * BLOCK_PAGES) !== 1) throw new Error('a row is written where others read');
    const kept = segments.map((each) => ({ profile: this.#profile(each), rows: this.#rows(each) }));
    const row = rowOf(kept, request, tokens, at);
    this.#contents.get(block * BLOCK_PAGES)?.rows.splice(raw.tokens % BLOCK_TOKENS, BLOCK_TOKENS, row);
    raw.tokens += 1;
    return row;
  }

  #profile(segment: TableSegment): number | undefined {
    return segment.kind === 'raw' ? undefined : this.#contents.get(segment.pages[0] ?? -1)?.profile;
  }

  #rows(segment: TableSegment): readonly number[] {
    if (segment.kind === 'capsule') return this.#contents.get(segment.pages[0] ?? -1)?.rows ?? [];
    return segment.blocks
      .flatMap((block) => this.#contents.get(block * BLOCK_PAGES)?.rows ?? [])
      .slice(0, segment.tokens);
  }

  #slot(slot: number): TableSegment[] {
    const segments = this.#slots.get(slot);
    if (!segments) throw new Error(`slot ${slot} is not open`);
    return segments;
  }

  /** Fresh pages, which no sequence may be using. */
  #put(pages: readonly number[], content: Content): void {
    for (const page of pages) {
      if (page < 0 || page >= this.blocks * BLOCK_PAGES) throw new Error('a page is out of range');
      if ((this.#users.get(page) ?? 0) > 0) throw new Error(`page ${page} is in use`);
      this.#contents.delete(page);
    }
    this.#contents.set(pages[0] ?? -1, content);
  }

  #use(pages: readonly number[], rows: number): void {
    if ((this.#contents.get(pages[0] ?? -1)?.rows.length ?? -1) < rows)
      throw new Error('rows that are not there');
    for (const page of pages) this.#users.set(page, (this.#users.get(page) ?? 0) + 1);
  }

  #drop(segment: TableSegment): void {
    const pages = segment.kind === 'capsule' ? segment.pages : segment.blocks.flatMap(pagesOf);
    for (const page of pages) this.#users.set(page, (this.#users.get(page) ?? 0) - 1);
  }

  #read(id: string, pages: readonly number[]): void {
    const kept = new Map<number, Content>();
    pages.forEach((page, index) => {
      const content = this.#contents.get(page);
      if (content) kept.set(index, { ...content, rows: [...content.rows] });
    });
    this.#kept.set(id, kept);
  }

  #write(id: string, pages: readonly number[]): void {
    const kept = this.#kept.get(id);
    if (!kept) throw new Error('bytes that were not kept');
    this.#kept.delete(id);
    pages.forEach((page, index) => {
      if ((this.#users.get(page) ?? 0) > 0) throw new Error(`page ${page} is in use`);
      const content = kept.get(index);
      if (content) this.#contents.set(page, content);
      else this.#contents.delete(page);
    });
  }

  #change(change: PageChange): void {
    if (change.kind === 'copyBlock') {
      const rows = this.#contents.get(change.from * BLOCK_PAGES)?.rows;
      if (!rows) throw new Error('a block is copied that holds nothing');
      this.#put(pagesOf(change.to), { profile: undefined, rows: [...rows] });
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
      case 'attachCapsule':
        this.#use(change.pages, change.tokens);
        segments.push({ kind: 'capsule', pages: change.pages });
        return;
      case 'compress':
        this.#compress(segments, change);
        return;
      case 'split':
        split(segments, change);
        return;
      default:
        this.#addBlocks(segments, change);
    }
  }

  #addBlocks(segments: TableSegment[], change: PageChange & { kind: 'blocks' | 'attachBlocks' }): void {
    const raw = segments[change.segment];
    if (raw?.kind !== 'raw') throw new Error('blocks for a segment that is not raw');
    if (change.kind === 'attachBlocks' && raw.tokens !== raw.blocks.length * BLOCK_TOKENS)
      throw new Error('attached blocks do not follow a full segment');
    let left = change.kind === 'attachBlocks' ? change.tokens : 0;
    for (const block of change.blocks) {
      if (change.kind === 'blocks') this.#put(pagesOf(block), { profile: undefined, rows: [] });
      this.#use(pagesOf(block), Math.min(left, BLOCK_TOKENS));
      left = Math.max(0, left - BLOCK_TOKENS);
    }
    raw.blocks.push(...change.blocks);
    if (change.kind === 'attachBlocks') raw.tokens += change.tokens;
  }

  #compress(segments: TableSegment[], change: PageChange & { kind: 'compress' }): void {
    const source = segments[change.segment];
    if (!source) throw new Error('no span to compress');
    const { pages, blocks } = change;
    const { covered, rest } = compressed(this.#rows(source), change.restRows);
    if (blocks.length !== Math.ceil(rest.length / BLOCK_TOKENS))
      throw new Error('not as many blocks as rest rows');
    // what was lossy before is not what it would be if it came from raw rows
    const before = this.#profile(source);
    const profile = before === undefined ? change.profile : mix(before, change.profile);
    this.#put(pages, { profile, rows: covered });
    this.#use(pages, covered.length);
    blocks.forEach((block, index) => {
      const rows = rest.slice(index * BLOCK_TOKENS, (index + 1) * BLOCK_TOKENS);
      this.#put(pagesOf(block), { profile: undefined, rows });
      this.#use(pagesOf(block), rows.length);
    });
    this.#drop(source);
    const kept: TableSegment[] =
      rest.length > 0 ? [{ kind: 'raw', blocks: [...blocks], tokens: rest.length }] : [];
    segments.splice(change.segment, 1, { kind: 'capsule', pages }, ...kept);
  }
}

/** What a request answers on tables of its own: no sharing, no pressure, one row after the other. */
export function expectedAnswer(
  request: ScheduledRequest,
  tokenIds: readonly number[],
  count: number,
): number[] {
  const tokens = [...tokenIds];
  const kept: { profile: number | undefined; rows: number[] }[] = [];
  const { text } = request;
  let fresh = true;
  for (let at = 0; ; at += 1) {
    const picture = request.pictures.find(({ offset, length }) => at >= offset && at < offset + length);
    if (fresh || picture?.offset === at) kept.push({ profile: undefined, rows: [] });
    fresh = false;
    const row = rowOf(kept, request, tokens, at);
    kept.at(-1)?.rows.push(row);
    if (at >= tokenIds.length - 1) {
      if (at - tokenIds.length + 1 === count) return tokens.slice(tokenIds.length);
      tokens.push(tokenOf(row));
    }
    if (!picture && text && kept.at(-1)?.rows.length === text.tokens) {
      kept.push({ profile: text.capsule.profile, rows: kept.pop()?.rows ?? [] });
      fresh = true;
    }
    if (!picture || at + 1 < picture.offset + picture.length) continue;
    fresh = true;
    if (!picture.capsule) continue;
    const { covered, rest } = compressed(kept.pop()?.rows ?? [], picture.restRows);
    kept.push({ profile: picture.capsule.profile, rows: covered });
    if (rest.length > 0) kept.push({ profile: undefined, rows: rest });
  }
}

function split(segments: TableSegment[], { segment, tokens }: PageChange & { kind: 'split' }): void {
  const whole = segments[segment];
  if (whole?.kind !== 'raw' || tokens % BLOCK_TOKENS !== 0 || tokens <= 0 || tokens >= whole.tokens)
    throw new Error('a segment is cut where it cannot be');
  const at = tokens / BLOCK_TOKENS;
  segments.splice(
    segment,
    1,
    { kind: 'raw', blocks: whole.blocks.slice(0, at), tokens },
    { kind: 'raw', blocks: whole.blocks.slice(at), tokens: whole.tokens - tokens },
  );
}

function compressed(
  rows: readonly number[],
  restRows: readonly number[],
): { covered: number[]; rest: number[] } {
  const rest = new Set(restRows);
  return { covered: rows.filter((_, row) => !rest.has(row)), rest: rows.filter((_, row) => rest.has(row)) };
}

/** A row's number: its token, its picture, and all that it attends to. */
function rowOf(
  kept: readonly { readonly profile: number | undefined; readonly rows: readonly number[] }[],
  request: ScheduledRequest,
  tokens: readonly number[],
  at: number,
): number {
  const picture = request.pictures.find(({ offset, length }) => at >= offset && at < offset + length);
  let state = mix(tokens[at] ?? 0, picture?.content?.contentSha256[0] ?? 0);
  for (const { profile, rows } of kept) {
    for (const row of rows) state = mix(state, mix(row, profile === undefined ? 1 : 2 + profile));
  }
  return state;
}

function tokenOf(row: number): number {
  return row % 5;
}

function pagesOf(block: number): number[] {
  return Array.from({ length: BLOCK_PAGES }, (_, page) => block * BLOCK_PAGES + page);
}

function mix(a: number, b: number): number {
  let hash = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x7f4a7c15, 0xc2b2ae35);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}
