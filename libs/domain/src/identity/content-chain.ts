import {
  type ContentName,
  type PictureContent,
  pictureName,
  runName,
  type SpanForm,
  textName,
} from './content-name.js';

/** A run of tokens that is stored by itself: a picture's span, or the text between two. */
export interface ContentSegment {
  readonly start: number;
  /** The last segment is text, and goes on with what is generated. */
  readonly length: number;
  /** Index of the picture whose span this is. */
  readonly picture: number | undefined;
}

/** Text that is kept in a form other than raw, run by run from the beginning of its segment. */
export interface TextRuns {
  /** Of a run; whole blocks. What is left at a segment's end stays raw. */
  readonly tokens: number;
  readonly form: SpanForm;
}

/**
 * What has a name of its own: a block of raw text (its segment's last one may be shorter, when a picture follows), a
 * run of text in another form, or a picture's whole span.
 */
export interface ContentUnit {
  readonly name: ContentName;
  readonly parent: ContentName;
  readonly start: number;
  readonly picture: number | undefined;
  /** A run of text that is not raw. */
  readonly run: boolean;
  readonly tokenIds: readonly number[];
}

/** The names of a prompt, made once: a sequence that goes on from them works on a `fork`. */
export type NamedPrompt = Pick<ContentChain, 'root' | 'units' | 'fork'>;

/** Names of one sequence's content, unit by unit, as it grows. */
export class ContentChain {
  readonly #units: ContentUnit[] = [];
  readonly #tokenIds: number[];
  #segments: readonly ContentSegment[];
  #parent: ContentName;
  #at = 0;
  #segment = 0;

  /** @param pictures of the segments that are pictures, by their index */
  constructor(
    readonly root: ContentName,
    segments: readonly ContentSegment[],
    readonly pictures: readonly PictureContent[],
    tokenIds: readonly number[],
    readonly blockTokens: number,
    readonly runs?: TextRuns,
  ) {
    this.#segments = segments;
    this.#parent = root;
    this.#tokenIds = [...tokenIds];
    this.#extend();
  }

  /** All complete units, in order and without a gap. */
  get units(): readonly ContentUnit[] {
    return this.#units;
  }

  /** The text at the end that no unit covers yet, less than a block or a run. */
  get tail(): readonly number[] {
    return this.#tokenIds.slice(this.#at);
  }

  /** Tokens `[start, end)`. */
  slice(start: number, end: number): readonly number[] {
    return this.#tokenIds.slice(start, end);
  }

  /** The same names in a chain of its own; nothing is hashed again. */
  fork(): ContentChain {
    const fork = new ContentChain(this.root, [], this.pictures, this.#tokenIds, this.blockTokens, this.runs);
    fork.#units.push(...this.#units);
    fork.#segments = this.#segments;
    fork.#parent = this.#parent;
    fork.#at = this.#at;
    fork.#segment = this.#segment;
    return fork;
  }

  /** A token was generated. */
  push(token: number): void {
    this.#tokenIds.push(token);
    this.#extend();
  }

  #extend(): void {
    for (let segment = this.#segments[this.#segment]; segment; segment = this.#segments[this.#segment]) {
      const last = this.#segment === this.#segments.length - 1;
      const end = last ? this.#tokenIds.length : segment.start + segment.length;
      if (this.#at >= end && !last) {
        this.#segment += 1;
        continue;
      }
      const whole = segment.picture !== undefined;
      const least = this.runs?.tokens ?? this.blockTokens;
      if (last && end - this.#at < least) return;
      const run = !whole && this.runs !== undefined && end - this.#at >= this.runs.tokens;
      const text = run ? least : Math.min(this.blockTokens, end - this.#at);
      this.#add(whole ? segment.length : text, segment.picture, run ? this.runs : undefined);
    }
  }

  #add(length: number, picture: number | undefined, runs: TextRuns | undefined): void {
    const parent = this.#parent;
    const start = this.#at;
    const tokenIds = this.#tokenIds.slice(start, start + length);
    const content = picture === undefined ? undefined : this.pictures[picture];
    if (picture !== undefined && !content) throw new Error('a picture segment without a picture');
    const text = runs ? runName(parent, runs.form, tokenIds) : textName(parent, tokenIds);
    const name = content ? pictureName(parent, content, tokenIds) : text;
    const run = runs !== undefined;
    this.#units.push({ name, parent, start, picture, run, tokenIds });
    this.#parent = name;
    this.#at += length;
  }
}
