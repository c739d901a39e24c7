import { type Codec, CODECS, type NativeEngineInfo, type NativeFormatInfo } from './native.js';

/** How one span is stored. */
export interface FormatChoice {
  /** Number of the format, as page operations name it. */
  readonly format: number;
  readonly pages: number;
  /** Rows of the span that stay raw. */
  readonly restRows: readonly number[];
}

/** What a choice depends on. */
export interface SpanShape {
  /** Rows of the whole span. */
  readonly length: number;
  /** Its rows that hold no image token, ascending. */
  readonly markerRows: readonly number[];
}

/** Pages that so many rows take in a format that covers them. */
function formatPages(format: NativeFormatInfo, tokens: number, pageBytes: number): number {
  if (format.tokens > 0) return format.pages;
  return Math.ceil((format.headerBytes + tokens * format.bytesPerToken) / pageBytes);
}

/** Rows that stay raw, or undefined when the format does not cover the span's other rows exactly. */
function uncovered(
  format: NativeFormatInfo,
  { length, markerRows }: SpanShape,
): readonly number[] | undefined {
  if (format.tokens === 0) return [];
  if (format.markerRows.length === 0)
    return length - markerRows.length === format.tokens ? markerRows : undefined;
  const same =
    length === format.tokens &&
    markerRows.length === format.markerRows.length &&
    markerRows.every((row, index) => row === format.markerRows[index]);
  return same ? [] : undefined;
}

/** The span in the format of that number; undefined when it does not fit. */
export function spanFormat(
  info: Pick<NativeEngineInfo, 'formats' | 'pageBytes'>,
  format: number,
  span: SpanShape,
): FormatChoice | undefined {
  const entry = info.formats[format];
  const restRows = entry && uncovered(entry, span);
  if (entry === undefined || restRows === undefined) return undefined;
  return { format, pages: formatPages(entry, span.length - restRows.length, info.pageBytes), restRows };
}

/** The last format with the codec that fits the span; undefined: it stays raw. */
export function chooseFormat(
  info: Pick<NativeEngineInfo, 'formats' | 'pageBytes'>,
  codec: Codec,
  span: SpanShape,
): FormatChoice | undefined {
  return [...info.formats.keys()]
    .reverse()
    .filter((format) => info.formats[format]?.codec === codec)
    .map((format) => spanFormat(info, format, span))
    .find((choice) => choice !== undefined);
}

/** Codecs that an engine can store spans with, `raw` among them. */
export function servedCodecs({ formats }: Pick<NativeEngineInfo, 'formats'>): Codec[] {
  return CODECS.filter((codec) => codec === 'raw' || formats.some((format) => format.codec === codec));
}
