import { KvcError } from '@kvcapsule/contracts/errors';

import { BLOCK_SHAPE, BlockAllocator, type BlockShape } from '../paging/index.js';
import { Sequence, type SequenceWork } from './sequence.js';
import type { PageChange, ScheduledRequest, ScheduledStep, StepSample } from './step.js';

export interface SchedulerOptions {
  readonly blocks: number;
  /** Rows of one step. */
  readonly maxStepTokens: number;
  /** Rows of prefill in a step that also decodes: what running streams wait for new prompts; no bound when absent. */
  readonly maxPrefillChunk?: number;
  /** Sequences that hold pages at one time. */
  readonly maxRunning: number;
  readonly shape?: BlockShape;
}

export interface SequencePages {
  readonly held: number;
  /** Those of them that hold capsules. */
  readonly capsule: number;
  /** The most it holds at one time until its newest token is there. */
  readonly peak: number;
  /** Tokens whose keys and values the held pages keep. */
  readonly tokens: number;
  /** More than its newest token is still to be computed. */
  readonly prefilling: boolean;
}

/** What one `plan` call gathers. */
interface Draft {
  readonly number: number;
  readonly work: Map<Sequence, SequenceWork>;
  /** Rows that the step may have. */
  maxRows: number;
  readonly preempted: string[];
  readonly exhausted: string[];
}

/**
 * Continuous batching over a pool of blocks: running decodes first, then chunks of prefill, then admissions while
 * pages last, all in order of priority and, within one, of arrival. A sequence that cannot get a block preempts the
 * last in this order, which is computed again later with what it has generated as part of its text; the first
 * therefore always goes on and nothing starves within its priority. Pure: no time, no tensors, no I/O. Use: `plan`, run the step, `complete` (or `fail`), `finish` what
 * has ended.
 */
export class Scheduler {
  readonly pool: BlockAllocator;
  readonly #options: SchedulerOptions;
  readonly #shape: BlockShape;
  readonly #sequences = new Map<string, Sequence>();
  /** By priority and arrival, as what waits. */
  readonly #running: Sequence[] = [];
  readonly #waiting: Sequence[] = [];
  readonly #freeSlots: number[];
  /** Slots given up since the last step; closed at the head of the next one. */
  #closing: number[] = [];
  #arrivals = 0;
  #steps = 0;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#shape = options.shape ?? BLOCK_SHAPE;
    this.pool = new BlockAllocator(options.blocks, this.#shape.pagesPerBlock);
    this.#freeSlots = Array.from(
      { length: options.maxRunning },
      (_, index) => options.maxRunning - 1 - index,
    );
  }

  get running(): readonly string[] {
    return this.#running.map(({ id }) => id);
  }

  get waiting(): readonly string[] {
    return this.#waiting.map(({ id }) => id);
  }

  has(id: string): boolean {
    return this.#sequences.has(id);
  }

  /** What a request holds. Zeros for one that is not here. */
  pages(id: string): SequencePages {
    const sequence = this.#sequences.get(id);
    if (!sequence) return { held: 0, capsule: 0, peak: 0, tokens: 0, prefilling: false };
    const perBlock = this.#shape.pagesPerBlock;
    return {
      held: sequence.heldBlocks * perBlock,
      capsule: sequence.capsuleBlocks * perBlock,
      peak: sequence.peakBlocks * perBlock,
      tokens: sequence.computed,
      prefilling: !sequence.decoding,
    };
  }

  /** Queues a request. Throws `KV_CAPACITY_EXCEEDED` when its prompt can never fit. */
  add(request: ScheduledRequest): void {
    if (this.#sequences.has(request.id)) throw new KvcError('INVALID_REQUEST', 'The request id is in use.');
    if (request.promptTokens < 1) throw new KvcError('INVALID_REQUEST', 'The prompt has no tokens.');
    const sequence = new Sequence(request, this.#arrivals++, this.#shape);
    if (sequence.peakBlocks > this.pool.blocks) {
      const pages = sequence.peakBlocks * this.#shape.pagesPerBlock;
      const message = `The prompt needs ${pages} KV pages; this worker has ${this.pool.capacityPages}.`;
      throw new KvcError('KV_CAPACITY_EXCEEDED', message);
    }
    this.#sequences.set(request.id, sequence);
    insertInOrder(this.#waiting, sequence);
  }

  /** The features of a preempted request's pictures are there again. */
  ready(id: string): void {
    const sequence = this.#sequences.get(id);
    if (sequence) sequence.ready = true;
  }

  /** Ends a request at any point, also while its step is under way. False when it is not (or no longer) here. */
  finish(id: string): boolean {
    const sequence = this.#sequences.get(id);
    if (!sequence) return false;
    this.#sequences.delete(id);
    remove(this.#waiting, sequence);
    this.#stop(sequence);
    return true;
  }

  /** Takes the pages of the last running request by priority and arrival, unless it is the only one. Not during a step's planning. */
  preemptLast(): string | undefined {
    const victim = this.#running.length > 1 ? this.#running.at(-1) : undefined;
    if (victim) this.#preempt(victim);
    return victim?.id;
  }

  /**
   * The next step, or `undefined` when there is nothing to do.
   * @param admit whether waiting requests may start; one always may when nothing runs.
   */
  plan(admit = true): ScheduledStep | undefined {
    const { maxStepTokens, maxPrefillChunk = maxStepTokens } = this.#options;
    const number = ++this.#steps;
    const draft: Draft = { number, work: new Map(), maxRows: maxStepTokens, preempted: [], exhausted: [] };
    const running = [...this.#running];
    for (const sequence of running.filter(({ decoding }) => decoding)) this.#schedule(sequence, draft);
    const decodes = plannedRows(draft);
    if (decodes > 0) draft.maxRows = Math.min(maxStepTokens, decodes + maxPrefillChunk);
    for (const sequence of running.filter(({ decoding }) => !decoding)) this.#schedule(sequence, draft);
    if (draft.preempted.length === 0) this.#admit(draft, admit);
    return this.#assemble(draft);
  }

  /** Takes a step's outcome in. Returns the samples whose token counts: those of requests not preempted or gone. */
  complete(step: ScheduledStep): StepSample[] {
    const sampled = new Set<string>();
    for (const { id } of step.samples) {
      const sequence = this.#sequences.get(id);
      if (sequence?.inStep !== step.number) continue;
      sequence.generated += 1;
      sampled.add(id);
    }
    this.#leaveStep(step);
    return step.samples.filter(({ id }) => sampled.has(id));
  }

  /**
   * A step failed and its slots have been closed in the engine: its requests are dropped, their pages are free.
   * Returns their ids.
   */
  fail(step: ScheduledStep): string[] {
    const failed = [...this.#sequences.values()].filter(({ inStep }) => inStep === step.number);
    for (const { id } of failed) this.finish(id);
    const closed = new Set(step.slots);
    this.#closing = this.#closing.filter((slot) => !closed.has(slot));
    return failed.map(({ id }) => id);
  }

  #leaveStep(step: ScheduledStep): void {
    for (const { id } of step.chunks) {
      const sequence = this.#sequences.get(id);
      if (sequence?.inStep === step.number) sequence.inStep = undefined;
    }
  }

  #schedule(sequence: Sequence, draft: Draft): void {
    if (!this.#running.includes(sequence)) return;
    const budget = draft.maxRows - plannedRows(draft);
    if (budget <= 0 || sequence.computed >= sequence.totalTokens) return;
    const work = draft.work.get(sequence) ?? { changes: [], chunks: [], rows: 0, samples: false };
    draft.work.set(sequence, work);
    sequence.inStep = draft.number;
    sequence.advance(
      budget,
      work,
      (count) => this.#take(sequence, count, draft),
      (blocks) => {
        this.pool.free(blocks);
      },
    );
  }

  /** Blocks for a sequence, at the expense of the last ones if need be; of itself if it is the last. */
  #take(sequence: Sequence, count: number, draft: Draft): readonly number[] | undefined {
    for (;;) {
      const taken = this.pool.allocate(count);
      if (taken) return taken;
      const victim = this.#running.at(-1);
      if (!victim) throw new Error('a sequence that does not run asks for blocks');
      draft.work.delete(victim);
      if (victim === sequence && this.#running.length === 1) {
        draft.exhausted.push(sequence.id);
        this.finish(sequence.id);
        return undefined;
      }
      this.#preempt(victim);
      draft.preempted.push(victim.id);
      if (victim === sequence) return undefined;
    }
  }

  #admit(draft: Draft, admit: boolean): void {
    for (;;) {
      // one whose features are made again may need what those behind it hold
      const next = this.#waiting.find(({ ready }) => ready);
      if (!next || plannedRows(draft) >= draft.maxRows) return;
      if (this.#running.length > 0 && !(admit && this.#fits(next))) return;
      remove(this.#waiting, next);
      if (this.#running.length === 0 && next.peakBlocks > this.pool.blocks) {
        draft.exhausted.push(next.id);
        this.finish(next.id);
        continue;
      }
      next.slot = this.#freeSlots.pop() ?? -1;
      insertInOrder(this.#running, next);
      const open: PageChange = { kind: 'open', slot: next.slot };
      draft.work.set(next, { changes: [open], chunks: [], rows: 0, samples: false });
      this.#schedule(next, draft);
    }
  }

  /** Whether its peak and one block to go on fit beside what running prefills have yet to take. */
  #fits(sequence: Sequence): boolean {
    if (this.#freeSlots.length === 0) return false;
    const promised = this.#running
      .filter(({ decoding }) => !decoding)
      .reduce((sum, other) => sum + Math.max(0, other.peakBlocks - other.heldBlocks), 0);
    return sequence.peakBlocks + 1 + promised <= this.pool.freeBlocks;
  }

  #preempt(sequence: Sequence): void {
    this.#stop(sequence);
    sequence.ready = sequence.request.pictures.length === 0;
    insertInOrder(this.#waiting, sequence);
  }

  #stop(sequence: Sequence): void {
    if (sequence.slot < 0) return;
    remove(this.#running, sequence);
    this.#freeSlots.push(sequence.slot);
    this.#closing.push(sequence.slot);
    this.pool.free(sequence.reset());
  }

  #assemble(draft: Draft): ScheduledStep | undefined {
    const rows = plannedRows(draft);
    if (rows === 0 && draft.exhausted.length === 0) return undefined;
    const work = [...draft.work.entries()];
    const samples: StepSample[] = [];
    let row = 0;
    for (const [sequence, part] of work) {
      row += part.rows;
      if (part.samples) samples.push({ id: sequence.id, row: row - 1 });
    }
    const closes: PageChange[] = rows > 0 ? this.#takeClosing() : [];
    return {
      number: draft.number,
      changes: [...closes, ...work.flatMap(([, part]) => part.changes)],
      chunks: work.flatMap(([, part]) => part.chunks),
      samples,
      rows,
      slots: [...new Set([...closes.map(({ slot }) => slot), ...work.map(([sequence]) => sequence.slot)])],
      preempted: draft.preempted,
      exhausted: draft.exhausted,
    };
  }

  #takeClosing(): PageChange[] {
    const closes = this.#closing.map((slot): PageChange => ({ kind: 'close', slot }));
    this.#closing = [];
    return closes;
  }
}

function plannedRows(draft: Draft): number {
  let rows = 0;
  for (const work of draft.work.values()) rows += work.rows;
  return rows;
}

function remove(list: Sequence[], sequence: Sequence): void {
  const index = list.indexOf(sequence);
  if (index >= 0) list.splice(index, 1);
}

function insertInOrder(list: Sequence[], sequence: Sequence): void {
  const index = list.findIndex(
    ({ priority, arrival }) =>
      priority > sequence.priority || (priority === sequence.priority && arrival > sequence.arrival),
  );
  list.splice(index < 0 ? list.length : index, 0, sequence);
}
