/**
 * What a name's content takes of the pool and how many tokens it covers, as one number of 14 bits: each to an eighth
 * of an octave, so that an index keeps it in two bytes and sums that are added and taken back come out at zero.
 */
export type SizeCode = number & { readonly __brand: 'SizeCode' };

/** As a worker tells it. */
export interface ContentSize {
  readonly tokens: number;
  /** Of the pool; features take none. */
  readonly pages: number;
}

const STEPS = 8;
const CODES = 128;
const COUNTS = Array.from({ length: CODES }, (_, code) =>
  code === 0 ? 0 : Math.round(2 ** ((code - 1) / STEPS)),
);

/** What takes no pages is nothing that a pool could lose. */
export function sizeCode({ tokens, pages }: ContentSize): SizeCode {
  return (pages > 0 ? CODES * codeOf(tokens) + codeOf(pages) : 0) as SizeCode;
}

export const tokensOf = (size: SizeCode): number => COUNTS[Math.floor(size / CODES)] ?? 0;
export const pagesOf = (size: SizeCode): number => COUNTS[size % CODES] ?? 0;

/** 0 for none; what is beyond the largest counts as that. */
function codeOf(count: number): number {
  return count >= 1 ? Math.min(CODES - 1, 1 + Math.round(STEPS * Math.log2(count))) : 0;
}
