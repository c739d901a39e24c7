import { BLOCK_SHAPE } from '../paging/index.js';
import type { ScheduledRequest, ScheduledStep } from '../scheduling/index.js';
import { type KeptPages, PageTableModel, type SeenRows } from './page-table-model.js';

/**
 * An engine's page tables without an engine: a row is a number that depends on all that it attends to and how that was
 * kept. So a sample is right exactly when nothing went wrong before it.
 */
export class PageTables {
  readonly #model: PageTableModel<number>;
  readonly #kept = new Map<string, KeptPages<number>>();

  constructor(readonly blocks: number) {
    this.#model = new PageTableModel({ blocks, ...BLOCK_SHAPE });
  }

  get openSlots(): number {
    return this.#model.openSlots.length;
  }

  /** Pages that some sequence uses. */
  get usedPages(): number {
    return this.#model.usedPages;
  }

  /** Runs a step. Returns the token that each sample draws. */
  run(
    step: ScheduledStep,
    find: (id: string) => { request: ScheduledRequest; tokens: readonly number[] },
  ): number[] {
    this.prepare(step);
    const rows = step.chunks.flatMap(({ id, slot, segment, start, rows: count }) => {
      const { request, tokens } = find(id);
      return Array.from({ length: count }, (_, row) => {
        const kept = this.#model.rows(slot);
        const before = kept.slice(0, segment + 1);
        if (countOf(before) !== start + row || countOf(kept) !== start + row)
          throw new Error('a chunk does not follow what is there');
        const state = rowOf(before.map(withFormat), request, tokens, start + row);
        this.#model.append(slot, segment, state);
        return state;
      });
    });
    return step.samples.map(({ row }) => tokenOf(rows[row] ?? 0));
  }

  /** Closes what is open of these slots. */
  close(slots: readonly number[]): void {
    for (const slot of this.#model.openSlots)
      if (slots.includes(slot)) this.#model.apply({ kind: 'close', slot });
  }

  /** All of a step that happens before its forward pass. */
  prepare(step: ScheduledStep): void {
    // who is closed reads nothing more, so its pages may be written before
    for (const change of step.changes) if (change.kind === 'close') this.#model.apply(change);
    for (const { id, pages } of step.reads) this.#kept.set(id, this.#model.read(pages));
    for (const { id, pages } of step.writes) this.#write(id, pages);
    for (const change of step.changes) if (change.kind !== 'close') this.#model.apply(change);
  }

  #write(id: string, pages: readonly number[]): void {
    const kept = this.#kept.get(id);
    if (!kept) throw new Error('bytes that were not kept');
    this.#kept.delete(id);
    const used = pages.find((page) => this.#model.uses(page) > 0);
    if (used !== undefined) throw new Error(`page ${used} is in use`);
    this.#model.write(pages, kept);
  }
}

/** What a request answers on tables of its own: no sharing, no pressure, one row after the other. */
export function expectedAnswer(
  request: ScheduledRequest,
  tokenIds: readonly number[],
  count: number,
): number[] {
  const tokens = [...tokenIds];
  const kept: { format: number | undefined; rows: number[] }[] = [];
  const { text } = request;
  let fresh = true;
  for (let at = 0; ; at += 1) {
    const picture = request.pictures.find(({ offset, length }) => at >= offset && at < offset + length);
    if (fresh || picture?.offset === at) kept.push({ format: undefined, rows: [] });
    fresh = false;
    const row = rowOf(kept, request, tokens, at);
    kept.at(-1)?.rows.push(row);
    if (at >= tokenIds.length - 1) {
      if (at - tokenIds.length + 1 === count) return tokens.slice(tokenIds.length);
      tokens.push(tokenOf(row));
    }
    if (!picture && text && kept.at(-1)?.rows.length === text.tokens) {
      kept.push({ format: text.stored.format, rows: kept.pop()?.rows ?? [] });
      fresh = true;
    }
    if (!picture || at + 1 < picture.offset + picture.length) continue;
    fresh = true;
    if (!picture.stored) continue;
    const { covered, rest } = compressed(kept.pop()?.rows ?? [], picture.restRows);
    kept.push({ format: picture.stored.format, rows: covered });
    if (rest.length > 0) kept.push({ format: undefined, rows: rest });
  }
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
  kept: readonly { readonly format: number | undefined; readonly rows: readonly number[] }[],
  request: ScheduledRequest,
  tokens: readonly number[],
  at: number,
): number {
  const picture = request.pictures.find(({ offset, length }) => at >= offset && at < offset + length);
  let state = mix(tokens[at] ?? 0, picture?.content?.contentSha256[0] ?? 0);
  for (const { format, rows } of kept) {
    for (const row of rows) state = mix(state, mix(row, format === undefined ? 1 : 2 + format));
  }
  return state;
}

function tokenOf(row: number): number {
  return row % 5;
}

const countOf = (kept: readonly SeenRows<number>[]): number =>
  kept.reduce((sum, { rows }) => sum + rows.length, 0);

/** Rows under the number of their format; of several that they went through one that stands for all. */
function withFormat({ formats, rows }: SeenRows<number>): {
  readonly format: number | undefined;
  readonly rows: readonly number[];
} {
  const [first, ...later] = formats;
  return { format: first === undefined ? undefined : later.reduce(mix, first), rows };
}

function mix(a: number, b: number): number {
  let hash = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x7f4a7c15, 0xc2b2ae35);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}
