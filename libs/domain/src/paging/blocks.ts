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
}

/** A run of tokens that starts on a fresh block. `picture` is its index in the prompt's pictures. */
export interface PromptSegment {
  readonly start: number;
  readonly length: number;
  readonly picture: number | undefined;
}

/** Blocks that hold a raw run of `tokens`. */
export function rawBlocks(tokens: number, shape: BlockShape): number {
  return Math.ceil(tokens / shape.blockTokens);
}

/** Cuts a prompt into its segments: every picture's span is one, and so is every run of text between. */
export function promptSegments(tokens: number, pictures: readonly PictureSpan[]): PromptSegment[] {
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
