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

/** What a sequence's names are made of. */
export interface NamedSequence {
  readonly root: ContentName;
  readonly segments: readonly ContentSegment[];
  /** Of the segments that are pictures, by their index. */
  readonly pictures: readonly PictureContent[];
  /** May grow. */
  readonly tokenIds: readonly number[];
  readonly blockTokens: number;
  readonly runs?: TextRuns | undefined;
}

/** Names a sequence's units one by one, each when it is asked for: a hash each. */
export class UnitCutter {
  #at = 0;
  #segment = 0;
  #parent: ContentName;

  constructor(private readonly sequence: NamedSequence) {
    this.#parent = sequence.root;
  }

  /** Tokens that units cover. */
  get at(): number {
    return this.#at;
  }

  /** From here on over another sequence, which has begun alike. */
  over(sequence: NamedSequence): UnitCutter {
    const cutter = new UnitCutter(sequence);
    cutter.#at = this.#at;
    cutter.#segment = this.#segment;
    cutter.#parent = this.#parent;
    return cutter;
  }

  /** Undefined where there are not enough tokens yet. */
  next(): ContentUnit | undefined {
    const { segments, tokenIds, runs, blockTokens } = this.sequence;
    for (let segment = segments[this.#segment]; segment; segment = segments[this.#segment]) {
      const last = this.#segment === segments.length - 1;
      const end = last ? tokenIds.length : segment.start + segment.length;
      if (this.#at >= end && !last) {
        this.#segment += 1;
        continue;
      }
      const whole = segment.picture !== undefined;
      const least = runs?.tokens ?? blockTokens;
      if (last && end - this.#at < least) return undefined;
      const run = !whole && runs !== undefined && end - this.#at >= runs.tokens;
      const text = run ? least : Math.min(blockTokens, end - this.#at);
      return this.#cut(whole ? segment.length : text, segment.picture, run ? runs : undefined);
    }
    return undefined;
  }

  #cut(length: number, picture: number | undefined, runs: TextRuns | undefined): ContentUnit {
    const parent = this.#parent;
    const start = this.#at;
    const tokenIds = this.sequence.tokenIds.slice(start, start + length);
    const content = picture === undefined ? undefined : this.sequence.pictures[picture];
    if (picture !== undefined && !content) throw new Error('a picture segment without a picture');
    const name = content
      ? pictureName(parent, content, tokenIds)
      : runs
        ? runName(parent, runs.form, tokenIds)
        : textName(parent, tokenIds);
    this.#parent = name;
    this.#at += length;
    return { name, parent, start, picture, run: runs !== undefined, tokenIds };
  }
}
