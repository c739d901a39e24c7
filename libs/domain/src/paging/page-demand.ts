/** Tokens and pages of one block of the pool. */
export interface BlockShape {
  readonly blockTokens: number;
  readonly pagesPerBlock: number;
}

/** The pool's shape in this version of the engine. */
export const BLOCK_SHAPE: BlockShape = { blockTokens: 16, pagesPerBlock: 8 };

/** A picture's span in the prompt, markers included: `[offset, offset + length)`. */
export interface PictureSpan {
  readonly offset: number;
  readonly length: number;
  /** Visual tokens among them; these are what a capsule covers. */
  readonly imageTokens: number;
}

/** How text is kept in a form other than raw: each run of so many tokens, from the beginning of its segment. */
export interface StoredRuns {
  readonly tokens: number;
  /** Of one run. */
  readonly pages: number;
}

export interface PromptShape {
  readonly tokens: number;
  /** Ascending, without overlap. */
  readonly pictures: readonly PictureSpan[];
  /** Covered tokens n → pages of one capsule; `undefined` or no entry for n: the span stays raw. */
  readonly capsulePages: Readonly<Record<string, number>> | undefined;
  /** Absent: text stays raw. */
  readonly runs?: StoredRuns | undefined;
}

export interface PageDemand {
  /** The most that is held at one time while the prompt is prefilled. */
  readonly peakPages: number;
  /** What the prefilled prompt holds. */
  readonly restingPages: number;
}

/** A run of tokens that starts on a fresh block. `picture` is its index in the prompt's pictures. */
export interface PromptSegment {
  readonly start: number;
  readonly length: number;
  readonly picture: number | undefined;
}

/** Blocks that hold a raw run of `tokens`. */
export function rawBlocks(tokens: number, shape: BlockShape = BLOCK_SHAPE): number {
  return Math.ceil(tokens / shape.blockTokens);
}

/** Cuts a prompt into its segments: every picture's span is one, and so is every run of text between. */
export function promptSegments(
  tokens: number,
  pictures: readonly Pick<PictureSpan, 'offset' | 'length'>[],
): PromptSegment[] {
  const segments: PromptSegment[] = [];
  let at = 0;
  pictures.forEach((picture, index) => {
    if (picture.offset < at || picture.length < 1 || picture.offset + picture.length > tokens) {
      throw new RangeError('picture spans must be ascending, apart and inside the prompt');
    }
    if (picture.offset > at) segments.push({ start: at, length: picture.offset - at, picture: undefined });
    segments.push({ start: picture.offset, length: picture.length, picture: index });
    at = picture.offset + picture.length;
  });
  if (at < tokens) segments.push({ start: at, length: tokens - at, picture: undefined });
  return segments;
}

/**
 * Pages a prompt needs: whole blocks for raw rows, single pages for capsules. The peak is where a picture's raw
 * span, its capsule and its marker rows stand side by side (or a run's raw rows and what they become), before the raw
 * span is given back. The router reserves
 * it, the worker admits by it.
 */
export function promptPages(prompt: PromptShape, shape: BlockShape = BLOCK_SHAPE): PageDemand {
  const rawPages = (tokens: number): number => rawBlocks(tokens, shape) * shape.pagesPerBlock;
  let resting = 0;
  let peak = 0;
  const add = (tokens: number, kept: number | undefined): void => {
    const raw = rawPages(tokens);
    peak = Math.max(peak, resting + raw + (kept ?? 0));
    resting += kept ?? raw;
  };
  for (const segment of promptSegments(prompt.tokens, prompt.pictures)) {
    const picture = segment.picture === undefined ? undefined : prompt.pictures[segment.picture];
    const pages = picture && prompt.capsulePages?.[picture.imageTokens];
    let left = segment.length;
    for (const { runs } = prompt; !picture && runs && left >= runs.tokens; left -= runs.tokens)
      add(runs.tokens, runs.pages);
    add(left, picture && pages !== undefined ? pages + rawPages(left - picture.imageTokens) : undefined);
  }
  return { peakPages: peak, restingPages: resting };
}
