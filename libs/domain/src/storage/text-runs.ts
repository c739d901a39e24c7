import type { BlockShape } from '../paging/index.js';
import { rowPages, type StorageFormat } from './span-format.js';

/** How text is kept in a form other than raw: each run of so many tokens, from the beginning of its segment. */
export interface TextRuns {
  /** Number of the format. */
  readonly format: number;
  /** Of one run; whole blocks. */
  readonly tokens: number;
  /** Of one run. */
  readonly pages: number;
}

/** Blocks of a run of text at most: what a sequence holds raw at its end stays small. */
const MOST_RUN_BLOCKS = 4;

/**
 * How text is kept with that codec: in runs of as many blocks as hold most tokens a page. Undefined where the codec
 * has no format for any number of rows: text stays raw.
 */
export function textRuns(
  offer: Pick<BlockShape, 'blockTokens'> & {
    readonly formats: readonly Pick<StorageFormat, 'codec' | 'tokens' | 'headerBytes' | 'bytesPerToken'>[];
    readonly pageBytes: number;
  },
  codec: string,
): TextRuns | undefined {
  const number = offer.formats.findIndex((candidate) => candidate.codec === codec && candidate.tokens === 0);
  const format = offer.formats[number];
  if (!format) return undefined;
  const runs = Array.from({ length: MOST_RUN_BLOCKS }, (_, index) => {
    const tokens = (index + 1) * offer.blockTokens;
    return { format: number, tokens, pages: rowPages(format, tokens, offer.pageBytes) };
  });
  return runs.reduce((best, run) => (run.pages * best.tokens < best.pages * run.tokens ? run : best));
}
