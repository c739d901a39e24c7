import { type BlockShape, type PromptShape, type StoredRuns } from './page-demand.js';

/** What a router knows of a way to store spans, enough to count pages. */
export interface StorageFormat {
  readonly codec: string;
  /** Rows that one capsule covers; 0: any number. */
  readonly tokens: number;
  /** Of those, the marker tokens; 0: it covers visual tokens only. */
  readonly markerTokens: number;
  /** Of one capsule where `tokens` is above 0; elsewhere n tokens take `headerBytes + n * bytesPerToken`. */
  readonly pages: number;
  readonly headerBytes: number;
  readonly bytesPerToken: number;
}

/** Enough to count the pages of any number of rows. */
type RowFormat = Pick<StorageFormat, 'codec' | 'tokens' | 'headerBytes' | 'bytesPerToken'>;

/** What a span holds once it is stored: pages of its capsule, and rows beside it that stay raw. */
export interface StoredSpan {
  readonly pages: number;
  readonly restTokens: number;
}

/** A picture's span by its counts: rows in all, and visual tokens among them. */
export interface SpanCounts {
  readonly length: number;
  readonly imageTokens: number;
}

/** How a span is stored with this codec; the last format that fits its counts wins. Undefined: it stays raw. */
export function storedSpan(
  formats: readonly StorageFormat[],
  codec: string,
  span: SpanCounts,
  pageBytes: number,
): StoredSpan | undefined {
  const format = formats.findLast((candidate) => candidate.codec === codec && fits(candidate, span));
  if (!format) return undefined;
  if (format.tokens > 0) return { pages: format.pages, restTokens: span.length - format.tokens };
  return { pages: rowPages(format, span.length, pageBytes), restTokens: 0 };
}

/** Blocks of a run of text at most: what a sequence holds raw at its end stays small. */
const MOST_RUN_BLOCKS = 4;

/**
 * How text is kept in a format for any number of rows: in runs of as many blocks as hold most tokens a page.
 * Undefined where the codec has no such format: text stays raw. `format` is its place in the list.
 */
export function storedRuns(
  formats: readonly RowFormat[],
  codec: string,
  pageBytes: number,
  { blockTokens }: Pick<BlockShape, 'blockTokens'>,
): (StoredRuns & { readonly format: number }) | undefined {
  const number = formats.findIndex((candidate) => candidate.codec === codec && candidate.tokens === 0);
  const format = formats[number];
  if (!format) return undefined;
  const runs = Array.from({ length: MOST_RUN_BLOCKS }, (_, index) => {
    const tokens = (index + 1) * blockTokens;
    return { format: number, tokens, pages: rowPages(format, tokens, pageBytes) };
  });
  return runs.reduce((best, run) => (run.pages * best.tokens < best.pages * run.tokens ? run : best));
}

function rowPages({ headerBytes, bytesPerToken }: RowFormat, tokens: number, pageBytes: number): number {
  return Math.ceil((headerBytes + tokens * bytesPerToken) / pageBytes);
}

/** A prompt whose pictures and text are stored like this, for the count of its pages. */
export function storedPrompt(
  tokens: number,
  pictures: readonly {
    readonly offset: number;
    readonly length: number;
    readonly stored?: StoredSpan | undefined;
  }[],
  runs?: StoredRuns,
): PromptShape {
  const covered = (length: number, stored: StoredSpan | undefined) => length - (stored?.restTokens ?? 0);
  return {
    tokens,
    runs,
    pictures: pictures.map(({ offset, length, stored }) => ({
      offset,
      length,
      imageTokens: covered(length, stored),
    })),
    capsulePages: Object.fromEntries(
      pictures.flatMap(({ length, stored }) => (stored ? [[covered(length, stored), stored.pages]] : [])),
    ),
  };
}

function fits({ tokens, markerTokens }: StorageFormat, { length, imageTokens }: SpanCounts): boolean {
  if (tokens === 0) return true;
  if (markerTokens === 0) return tokens === imageTokens;
  return tokens === length && markerTokens === length - imageTokens;
}
