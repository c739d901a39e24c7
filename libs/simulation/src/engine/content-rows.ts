import type { PageChange } from '@kvcapsule/domain/scheduling';
import { PageTableModel } from '@kvcapsule/domain/testing';
import type { NativeEngineInfo } from '@kvcapsule/engine';
import { mix, type PlanRow } from '@kvcapsule/testing/engine';

/** A row stands for all content up to its position, however it was computed and is stored. */
interface Row {
  readonly position: number;
  readonly state: number;
}

/** What a sequence goes on from. */
interface End {
  readonly rows: number;
  readonly state: number;
}

const EMPTY: End = { rows: 0, state: 1 };

/**
 * Page tables whose rows are hashes of the content before them, each made from the last: the work of a row does not
 * grow with its position, so long prompts and answers stay cheap. Refuses what would spoil pages.
 */
export class ContentRows {
  readonly #tables: PageTableModel<Row>;
  /** By slot, while nothing but blocks has come to it since its last row. */
  readonly #ends = new Map<number, End>();

  constructor(
    private readonly info: NativeEngineInfo,
    blocks: number,
  ) {
    const { blockTokens, pagesPerBlock, formats } = info;
    this.#tables = new PageTableModel({
      ...{ blocks, blockTokens, pagesPerBlock },
      formats: {
        pagesOf: (format, tokens) => pagesOf(info, format, tokens),
        fitted: (format) => formats[format]?.tokens !== 0,
      },
    });
  }

  /** Pages that some sequence uses. */
  get usedPages(): number {
    return this.#tables.usedPages;
  }

  apply(change: PageChange): void {
    this.#tables.apply(change);
    if (change.kind !== 'copyBlock' && !KEEPS_ROWS.has(change.kind)) this.#ends.delete(change.slot);
  }

  /** Computes a row; its state is a function of what the sequence holds up to it, and of nothing else. */
  append({ slot, segment, token, position }: PlanRow, feature: number): number {
    const end = this.#ends.get(slot) ?? this.#endOf(slot);
    if (end.rows !== position) throw new Error('a row is at the wrong position');
    if (position >= this.info.contextTokens) throw new Error('a position is beyond the context');
    const state = mix(mix(end.state, token), feature);
    this.#tables.append(slot, segment, { position, state });
    this.#ends.set(slot, { rows: position + 1, state });
    return state;
  }

  read(pages: readonly number[]): ReturnType<PageTableModel<Row>['read']> {
    return this.#tables.read(pages);
  }

  write(pages: readonly number[], kept: ReturnType<PageTableModel<Row>['read']>): void {
    this.#tables.write(pages, kept);
  }

  /** Rows that are left raw of a stored span stand behind it, so the last one may be anywhere. */
  #endOf(slot: number): End {
    let end = EMPTY;
    let [rows, last] = [0, -1];
    for (const segment of this.#tables.rows(slot)) {
      rows += segment.rows.length;
      for (const { position, state } of segment.rows) {
        if (position <= last) continue;
        last = position;
        end = { rows: position + 1, state };
      }
    }
    if (rows !== end.rows) throw new Error('rows are missing before the last one');
    return end;
  }
}

/** They change where rows may go, not which there are. */
const KEEPS_ROWS: ReadonlySet<PageChange['kind']> = new Set(['segment', 'blocks']);

function pagesOf(
  { formats, pageBytes }: NativeEngineInfo,
  format: number,
  tokens: number,
): number | undefined {
  const info = formats[format];
  if (!info) return undefined;
  if (info.tokens === 0) return Math.ceil((info.headerBytes + tokens * info.bytesPerToken) / pageBytes);
  return tokens === info.tokens ? info.pages : undefined;
}
