import {
  type BlockShape,
  capsuleBlocks,
  type PromptSegment,
  promptPages,
  promptSegments,
  rawBlocks,
} from '../paging/index.js';
import type { PageChange, ScheduledPicture, ScheduledRequest, StepChunk } from './step.js';

/** Takes `count` blocks, or answers `undefined` when the sequence cannot go on in this step. */
export type TakeBlocks = (count: number) => readonly number[] | undefined;

/** What one sequence does in one step. */
export interface SequenceWork {
  readonly changes: PageChange[];
  readonly chunks: StepChunk[];
  rows: number;
  /** The last row's next token is wanted. */
  samples: boolean;
}

/** One request's place in the pool: how far it is computed and which blocks it holds. */
export class Sequence {
  readonly id: string;
  readonly priority: number;
  generated = 0;
  /** Tokens whose keys and values are in the pool. */
  computed = 0;
  slot = -1;
  /** False while its pictures' features are made again after a preemption. */
  ready = true;
  /** The step it takes part in while that is under way. */
  inStep: number | undefined;

  readonly #segments: readonly PromptSegment[];
  readonly #capsulePages: Readonly<Record<string, number>>;
  /** Blocks by segment. */
  #blocks: number[][] = [];
  #capsuleBlocks = 0;
  /** Number of the newest segment in the engine's table. */
  #tableIndex = -1;
  /** A complete raw picture span at the end of the table that waits for its compression. */
  #uncompressed: ScheduledPicture | undefined;

  constructor(
    readonly request: ScheduledRequest,
    /** Order of arrival; lower is older. */
    readonly arrival: number,
    readonly shape: BlockShape,
  ) {
    this.id = request.id;
    this.priority = request.priority ?? 0;
    const segments = promptSegments(request.promptTokens, request.pictures);
    if (segments.at(-1)?.picture !== undefined) {
      segments.push({ start: request.promptTokens, length: 0, picture: undefined });
    }
    this.#segments = segments;
    this.#capsulePages = Object.fromEntries(
      request.pictures.flatMap(({ capsule, length, restRows }) =>
        capsule ? [[String(length - restRows.length), capsule.pages]] : [],
      ),
    );
  }

  get totalTokens(): number {
    return this.request.promptTokens + this.generated;
  }

  /** Only the newest token is missing. */
  get decoding(): boolean {
    return this.computed > 0 && this.totalTokens - this.computed === 1 && this.generated > 0;
  }

  get heldBlocks(): number {
    return this.#blocks.reduce((sum, blocks) => sum + blocks.length, 0);
  }

  /** Blocks that hold capsules, among those held. */
  get capsuleBlocks(): number {
    return this.#capsuleBlocks;
  }

  /** The most blocks it holds at one time until its newest token is sampled. */
  get peakBlocks(): number {
    const pictures = this.request.pictures.map(({ offset, length, restRows }) => ({
      offset,
      length,
      imageTokens: length - restRows.length,
    }));
    const prompt = { tokens: this.totalTokens, pictures, capsulePages: this.#capsulePages };
    return promptPages(prompt, this.shape).peakPages / this.shape.pagesPerBlock;
  }

  /** Forgets everything computed and hands over the blocks; what was generated stays part of the text. */
  reset(): number[] {
    const blocks = this.#blocks.flat();
    this.#blocks = [];
    this.#capsuleBlocks = 0;
    this.#tableIndex = -1;
    this.#uncompressed = undefined;
    this.computed = 0;
    this.slot = -1;
    this.inStep = undefined;
    return blocks;
  }

  /**
   * Adds up to `budget` rows to the work. Stops at a picture's end when its span is to be compressed: what
   * follows attends to the capsule, so it belongs to a later step.
   * @returns false when blocks were refused; the work is void then.
   */
  advance(budget: number, work: SequenceWork, take: TakeBlocks, free: (blocks: number[]) => void): boolean {
    while (work.rows < budget && this.computed < this.totalTokens) {
      if (this.#uncompressed) {
        if (work.rows > 0) break;
        if (!this.#compress(this.#uncompressed, work, take, free)) return false;
      }
      if (!this.#addChunk(budget - work.rows, work, take)) return false;
    }
    work.samples = this.computed === this.totalTokens && work.rows > 0;
    return true;
  }

  #addChunk(budget: number, work: SequenceWork, take: TakeBlocks): boolean {
    const index = this.#segments.findLastIndex((segment) => segment.start <= this.computed);
    const segment = this.#segments[index];
    if (!segment) throw new Error('a sequence without tokens is scheduled');
    const last = index === this.#segments.length - 1;
    const end = last ? this.totalTokens : segment.start + segment.length;
    const rows = Math.min(budget, end - this.computed);
    const blocks = this.#blocks[index] ?? [];
    const missing = rawBlocks(this.computed - segment.start + rows, this.shape) - blocks.length;
    const taken = take(missing);
    if (!taken) return false;
    if (this.computed === segment.start) {
      this.#tableIndex += 1;
      work.changes.push({ kind: 'segment', slot: this.slot });
    }
    this.#blocks[index] = [...blocks, ...taken];
    if (taken.length > 0) {
      work.changes.push({ kind: 'blocks', slot: this.slot, segment: this.#tableIndex, blocks: taken });
    }
    work.chunks.push({
      id: this.id,
      slot: this.slot,
      segment: this.#tableIndex,
      start: this.computed,
      rows,
      picture: segment.picture,
    });
    work.rows += rows;
    this.computed += rows;
    const picture = segment.picture === undefined ? undefined : this.request.pictures[segment.picture];
    if (picture?.capsule && this.computed === end) this.#uncompressed = picture;
    return true;
  }

  /** Puts capsule and marker rows in the raw span's place and frees the span's blocks. */
  #compress(
    picture: ScheduledPicture,
    work: SequenceWork,
    take: TakeBlocks,
    free: (blocks: number[]) => void,
  ): boolean {
    const { capsule, restRows } = picture;
    if (!capsule) throw new Error('a span without a profile is to be compressed');
    const forCapsule = capsuleBlocks(capsule.pages, this.shape);
    const taken = take(forCapsule + rawBlocks(restRows.length, this.shape));
    if (!taken) return false;
    const perBlock = this.shape.pagesPerBlock;
    const pages = Array.from(
      { length: capsule.pages },
      (_, page) => (taken[Math.floor(page / perBlock)] ?? 0) * perBlock + (page % perBlock),
    );
    work.changes.push({
      kind: 'compress',
      slot: this.slot,
      segment: this.#tableIndex,
      profile: capsule.profile,
      pages,
      blocks: taken.slice(forCapsule),
      restRows,
    });
    if (restRows.length > 0) this.#tableIndex += 1;
    const index = this.#segments.findLastIndex((segment) => segment.start < this.computed);
    free(this.#blocks[index] ?? []);
    this.#blocks[index] = [...taken];
    this.#capsuleBlocks += forCapsule;
    this.#uncompressed = undefined;
    return true;
  }
}
