import { type ContentName, type PictureContent, pictureName, textName } from './content-name.js';

/** A run of tokens that is stored by itself: a picture's span, or the text between two. */
export interface ContentSegment {
  readonly start: number;
  /** The last segment goes on with what is generated. */
  readonly length: number;
  /** Index of the picture whose span this is. */
  readonly picture: number | undefined;
}

/**
 * What has a name of its own: a block of text (its segment's last one may be shorter, when a picture follows) or a
 * picture's whole span.
 */
export interface ContentUnit {
  readonly name: ContentName;
  readonly parent: ContentName;
  readonly start: number;
  /** Index of its segment. */
  readonly segment: number;
  readonly picture: number | undefined;
  readonly tokenIds: readonly number[];
}

/** Names of one sequence's content, unit by unit, as it grows. */
export class ContentChain {
  readonly #units: ContentUnit[] = [];
  readonly #tokenIds: number[];
  #parent: ContentName;
  #at = 0;
  #segment = 0;

  /** @param pictures of the segments that are pictures, by their index */
  constructor(
    readonly root: ContentName,
    readonly segments: readonly ContentSegment[],
    readonly pictures: readonly PictureContent[],
    tokenIds: readonly number[],
    readonly blockTokens: number,
  ) {
    this.#parent = root;
    this.#tokenIds = [...tokenIds];
    this.#extend();
  }

  /** All complete units, in order and without a gap. */
  get units(): readonly ContentUnit[] {
    return this.#units;
  }

  /** The text at the end that no unit covers yet, less than a block. */
  get tail(): readonly number[] {
    return this.#tokenIds.slice(this.#at);
  }

  /** Tokens `[start, end)`. */
  slice(start: number, end: number): readonly number[] {
    return this.#tokenIds.slice(start, end);
  }

  /** A token was generated. */
  push(token: number): void {
    this.#tokenIds.push(token);
    this.#extend();
  }

  #extend(): void {
    for (let segment = this.segments[this.#segment]; segment; segment = this.segments[this.#segment]) {
      const last = this.#segment === this.segments.length - 1;
      const end = last ? this.#tokenIds.length : segment.start + segment.length;
      if (this.#at >= end && !last) {
        this.#segment += 1;
        continue;
      }
      const whole = segment.picture !== undefined;
      const length = whole ? segment.length : Math.min(this.blockTokens, end - this.#at);
      if (length === 0 || (last && !whole && length < this.blockTokens)) return;
      this.#add(length, segment.picture);
      if (last && whole) return;
    }
  }

  #add(length: number, picture: number | undefined): void {
    const parent = this.#parent;
    const start = this.#at;
    const tokenIds = this.#tokenIds.slice(start, start + length);
    const content = picture === undefined ? undefined : this.pictures[picture];
    if (picture !== undefined && !content) throw new Error('a picture segment without a picture');
    const name = content ? pictureName(parent, content, tokenIds) : textName(parent, tokenIds);
    this.#units.push({ name, parent, start, segment: this.#segment, picture, tokenIds });
    this.#parent = name;
    this.#at += length;
  }
}
