import type { PromptShape } from './page-demand.js';

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
  const bytes = format.headerBytes + span.length * format.bytesPerToken;
  return { pages: Math.ceil(bytes / pageBytes), restTokens: 0 };
}

/** A prompt whose pictures are stored like this, for the count of its pages. */
export function storedPrompt(
  tokens: number,
  pictures: readonly {
    readonly offset: number;
    readonly length: number;
    readonly stored?: StoredSpan | undefined;
  }[],
): PromptShape {
  const covered = (length: number, stored: StoredSpan | undefined) => length - (stored?.restTokens ?? 0);
  return {
    tokens,
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
