import type { SpanForm } from '../identity/index.js';
import { type BlockShape, rawBlocks } from '../paging/index.js';

/** One way to store rows; its number is its place in the worker's list. */
export interface StorageFormat<Codec extends string = string> {
  readonly codec: Codec;
  /** Name and hash of the profile; empty for a format without one. */
  readonly profileId: string;
  /** Rows that one capsule covers; 0: any number. */
  readonly tokens: number;
  /** Rows of the span that are markers and covered, ascending; empty when only visual tokens are. */
  readonly markerRows: ArrayLike<number>;
  /** Of one capsule where `tokens` is above 0; elsewhere n rows take `headerBytes + n * bytesPerToken`. */
  readonly pages: number;
  readonly headerBytes: number;
  readonly bytesPerToken: number;
}

/** What a worker stores rows with. */
export interface StorageOffer extends BlockShape {
  /** Of those with one codec, the last that fits is used. */
  readonly formats: readonly StorageFormat[];
  readonly pageBytes: number;
}

/** What the choice of a format depends on. */
export interface SpanShape {
  /** Rows of the whole span. */
  readonly length: number;
  /** Its rows that hold no image token, ascending. */
  readonly markerRows: readonly number[];
}

/** How one span is stored. */
export interface FormatChoice {
  /** Number of the format, as page operations name it. */
  readonly format: number;
  readonly pages: number;
  /** Rows of the span that stay raw, ascending. */
  readonly restRows: readonly number[];
}

type Formats = Pick<StorageOffer, 'formats' | 'pageBytes'>;

/** Pages of any number of rows in a format that has no number of its own. */
export function rowPages(
  { headerBytes, bytesPerToken }: Pick<StorageFormat, 'headerBytes' | 'bytesPerToken'>,
  rows: number,
  pageBytes: number,
): number {
  return Math.ceil((headerBytes + rows * bytesPerToken) / pageBytes);
}

/** The span in the format of that number; undefined when it does not fit. */
export function spanFormat(offer: Formats, format: number, span: SpanShape): FormatChoice | undefined {
  const entry = offer.formats[format];
  if (!entry) return undefined;
  const restRows = uncovered(entry, span);
  if (!restRows) return undefined;
  const pages = entry.tokens > 0 ? entry.pages : rowPages(entry, span.length, offer.pageBytes);
  return { format, pages, restRows };
}

/** The last format with the codec that fits the span; undefined: it stays raw. */
export function chooseFormat(offer: Formats, codec: string, span: SpanShape): FormatChoice | undefined {
  for (let format = offer.formats.length - 1; format >= 0; format -= 1) {
    const choice = offer.formats[format]?.codec === codec ? spanFormat(offer, format, span) : undefined;
    if (choice) return choice;
  }
  return undefined;
}

/**
 * What a span may become when pages run out: of the formats fitted for it the one with the fewest pages, rest rows
 * included. Undefined for a span that is in a fitted format already, and where none takes fewer pages.
 */
export function smallerCapsule(
  offer: StorageOffer,
  span: SpanShape,
  choice: FormatChoice | undefined,
): FormatChoice | undefined {
  if (choice && offer.formats[choice.format]?.tokens !== 0) return undefined;
  const pagesOf = ({ pages, restRows }: FormatChoice): number =>
    pages + rawBlocks(restRows.length, offer) * offer.pagesPerBlock;
  const fitted = [...new Set(offer.formats.filter(({ tokens }) => tokens > 0).map(({ codec }) => codec))]
    .flatMap((codec) => chooseFormat(offer, codec, span) ?? [])
    .sort((a, b) => pagesOf(a) - pagesOf(b) || a.format - b.format);
  const [least] = fitted;
  return !least || (choice && pagesOf(least) >= pagesOf(choice)) ? undefined : least;
}

/** What a choice adds to the name of what it stores. */
export function formOf(
  { formats }: Pick<StorageOffer, 'formats'>,
  choice: FormatChoice | undefined,
): SpanForm {
  const { codec = 'raw', profileId = '' } = choice ? (formats[choice.format] ?? {}) : {};
  return { codec, profileId };
}

/** Rows that stay raw, or undefined when the format does not cover the span's other rows exactly. */
function uncovered(format: StorageFormat, { length, markerRows }: SpanShape): readonly number[] | undefined {
  if (format.tokens === 0) return [];
  if (format.markerRows.length === 0)
    return length - markerRows.length === format.tokens ? markerRows : undefined;
  const same =
    length === format.tokens &&
    markerRows.length === format.markerRows.length &&
    markerRows.every((row, index) => row === format.markerRows[index]);
  return same ? [] : undefined;
}
