import { KvcError } from '@kvcapsule/contracts/errors';

import { BLOCK_SHAPE, type BlockShape, PagePool, PrefixCache, type PrefixMatch } from '../paging/index.js';
import type { PoolAccount, SchedulerCounters, SequencePages } from './accounts.js';
import type { KeptSpan } from './description.js';
import { assemble, type Draft, plannedRows } from './draft.js';
import { type Holding, holdingsOf } from './holdings.js';
import { type PageSource, Sequence, type SequenceWork, type TailRoom } from './sequence.js';
import type { PageChange, ScheduledRequest, ScheduledStep, StepSample } from './step.js';

export interface SchedulerOptions {
  readonly blocks: number;
  /** Rows of one step. */
  readonly maxStepTokens: number;
  /** Rows of prefill in a step that also decodes: what running streams wait for new prompts; no bound when absent. */
  readonly maxPrefillChunk?: number;
  /** Sequences that hold pages at one time. */
  readonly maxRunning: number;
  /** Pages whose bytes may be kept elsewhere while their sequences wait; 0 when absent. */
  readonly swapPages?: number;
  readonly shape?: BlockShape;
}

/** For the least that may be needed: every tail finds room beside others. */
const FINDS_ROOM: TailRoom = { tailTakesBlock: () => false };

/**
 * Continuous batching over a pool of pages: running decodes first, then chunks of prefill, then admissions while
 * pages last, all in order of priority and, within one, of arrival. A request that names its content begins with the
 * longest prefix that the cache holds, and leaves there what it computes.
 *
 * When the running sequences' next rows do not fit, pages come from, in this order: content that nobody uses;
 * pictures of running sequences, which become smaller capsules where they may; the last sequence's pages, whose bytes are
 * kept elsewhere; and last from preemption: it is computed again later with what it has generated as part of its
 * text. The first in order always goes on, so nothing starves within its priority.
 *
 * Pure: no time, no tensors, no I/O. Use: `plan`, run the step, `complete` (or `fail`), `finish` what has ended. One
 * step may be planned ahead while another is under way. Steps run in the order of their plans, so pages given up are
 * free for the next plan at once, also while a step that is under way still writes to them.
 */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #shape: BlockShape;
  readonly #pages: PagePool;
  readonly #cache: PrefixCache;
  readonly #source: PageSource;
  readonly #sequences = new Map<string, Sequence>();
  /** By priority and arrival, as what waits. */
  readonly #running: Sequence[] = [];
  readonly #waiting: Sequence[] = [];
  readonly #freeSlots: number[];
  /** Slots given up since the last step; closed at the head of the next one. */
  #closing: number[] = [];
  #arrivals = 0;
  #steps = 0;
  #swappedPages = 0;
  /** How the requests were kept that the last plan found exhausted. */
  readonly #exhausted = new Map<string, readonly KeptSpan[]>();
  /** Prefix lookups of requests that waited for their first admission. */
  readonly #admitted = new WeakMap<Sequence, number>();
  readonly #counts = {
    ...{
      recompressions: 0,
      textRecompressions: 0,
      swapsOut: 0,
      swapsIn: 0,
      preemptions: 0,
      recomputedTokens: 0,
    },
    ...{ tokens: 0, hits: 0 },
  };

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#shape = options.shape ?? BLOCK_SHAPE;
    const pool = new PagePool(options.blocks, this.#shape.pagesPerBlock);
    this.#pages = pool;
    this.#cache = new PrefixCache(pool);
    this.#source = {
      takeBlocks: (count) => this.#sure(() => pool.allocateBlocks(count)),
      takeCapsule: (pages) => this.#sure(() => pool.allocateCapsule(pages)),
      tailTakesBlock: (pages) => pool.tailTakesBlock(pages),
      ownedAlone: (run) => pool.references(run) === (this.#cache.holds(run) ? 2 : 1),
      release: (runs) => {
        pool.release(runs);
      },
      leave: (entries) => {
        this.#cache.leave(entries);
      },
    };
    this.#freeSlots = Array.from(
      { length: options.maxRunning },
      (_, index) => options.maxRunning - 1 - index,
    );
  }

  get pool(): PoolAccount {
    const { capacityPages } = this.#pages;
    const cachedPages = this.#cache.idlePages;
    const freePages = this.#pages.freePages + cachedPages;
    return { capacityPages, freePages, heldPages: capacityPages - freePages, cachedPages };
  }

  get counters(): SchedulerCounters {
    const { tokens, hits, ...counts } = this.#counts;
    return {
      ...counts,
      evictedPages: this.#cache.evictedPages,
      prefixTokens: tokens,
      prefixHitTokens: hits,
    };
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

  /** Tokens of the prompt that were not computed when the request was first admitted; 0 before. */
  cachedTokens(id: string): number {
    const sequence = this.#sequences.get(id);
    return (sequence && this.#admitted.get(sequence)) ?? 0;
  }

  /**
   * How many of a request's pictures, from the first on, are in the prefix cache: no features are needed for them.
   * It may be fewer at its admission; the step that finds so names it in `missing`.
   */
  cachedPictures(request: ScheduledRequest): number {
    const { chain } = new Sequence(request, 0, this.#shape);
    const units = chain?.units.slice(0, this.#cache.count(chain)) ?? [];
    return units.filter(({ picture }) => picture !== undefined).length;
  }

  /** What a request holds. Zeros for one that is not here. */
  pages(id: string): SequencePages {
    const sequence = this.#sequences.get(id);
    if (!sequence) return { held: 0, peak: 0, tokens: 0, prefilling: false };
    const inPool = sequence.slot >= 0;
    const held = inPool ? Math.ceil(this.#pages.shareOf(sequence.runs, this.#cache.holds)) : 0;
    return {
      held,
      peak: held + sequence.blocksFor(this.#source) * this.#shape.pagesPerBlock,
      tokens: sequence.computed,
      prefilling: !sequence.decoding,
    };
  }

  /**
   * How a request's prompt is kept, in order and without a gap: what is not computed yet, or has lost its pages, in
   * the form that it takes when it is. Empty for one that is not here, but for those that the last plan found exhausted.
   */
  describe(id: string): readonly KeptSpan[] {
    return this.#sequences.get(id)?.describe() ?? this.#exhausted.get(id) ?? [];
  }

  /** What all running requests hold, by the number of its format (`undefined`: raw); the pages are the pool's held ones. */
  holdings(): ReadonlyMap<number | undefined, Holding> {
    const segments = this.#running.flatMap((sequence) => sequence.segments);
    return holdingsOf(segments, this.#shape);
  }

  /**
   * Queues a request. Throws `KV_CAPACITY_EXCEEDED` when its prompt can never fit.
   * @param featuresFrom the first picture whose features are there; those before it are expected in the cache
   */
  add(request: ScheduledRequest, featuresFrom = 0): void {
    if (this.#sequences.has(request.id)) throw new KvcError('INVALID_REQUEST', 'The request id is in use.');
    if (request.promptTokens < 1) throw new KvcError('INVALID_REQUEST', 'The prompt has no tokens.');
    const sequence = new Sequence(request, this.#arrivals++, this.#shape);
    sequence.featuresFrom = featuresFrom;
    const blocks = sequence.blocksFor({ tailTakesBlock: (pages) => pages > 0 });
    if (blocks > this.#pages.blocks) {
      const pages = blocks * this.#shape.pagesPerBlock;
      const message = `The prompt needs ${pages} KV pages; this worker has ${this.#pages.capacityPages}.`;
      throw new KvcError('KV_CAPACITY_EXCEEDED', message);
    }
    this.#sequences.set(request.id, sequence);
    insertInOrder(this.#waiting, sequence);
  }

  /** The features of all pictures of a request that was `missing` them are there. */
  ready(id: string): void {
    const sequence = this.#sequences.get(id);
    if (!sequence) return;
    sequence.ready = true;
    sequence.featuresFrom = 0;
  }

  /** Ends a request at any point, also while its step is under way. False when it is not (or no longer) here. */
  finish(id: string): boolean {
    const sequence = this.#sequences.get(id);
    if (!sequence) return false;
    sequence.sealTail(this.#cache);
    this.#drop(sequence);
    return true;
  }

  /**
   * The next step, or `undefined` when there is nothing to do.
   * @param ahead a step is still under way. The token that it draws for a request is taken as one to go on from,
   *   whatever it will be. `undefined` also when running requests would have to give up pages or waiting ones get
   *   theirs back: that is planned when the step has ended.
   */
  plan(ahead = false): ScheduledStep | undefined {
    this.#exhausted.clear();
    const { maxStepTokens } = this.#options;
    const moves = { head: [], reads: [], writes: [] };
    const news = { recompressed: [], preempted: [], missing: [], exhausted: [] };
    const draft: Draft = {
      ...{ ...moves, ...news, number: ++this.#steps },
      ...{ work: new Map(), maxRows: maxStepTokens },
    };
    if (ahead && (this.#mustMakeRoom(draft) || this.#resumable())) return undefined;
    const roomy = this.#makeRoom(draft);
    // before any page changes hands in this step: the bytes are written before its changes
    if (roomy) this.#resume(draft);
    const { rows: share, maxRows } = this.#share();
    draft.maxRows = maxRows;
    for (const [sequence, rows] of share) this.#schedule(sequence, rows, draft);
    if (roomy) this.#admit(draft);
    const step = assemble(draft, this.#closing);
    if (step) this.#closing = [];
    return step;
  }

  /**
   * Takes a step's outcome in. Returns the samples whose token counts: those of requests not preempted or gone.
   * @param tokens that were drawn, in the order of the step's samples
   */
  complete(step: ScheduledStep, tokens: ArrayLike<number>): StepSample[] {
    const find = (id: string): Sequence | undefined => {
      const sequence = this.#sequences.get(id);
      return sequence?.inSteps.has(step.number) ? sequence : undefined;
    };
    const counted = step.samples.filter(({ id }, index) => {
      const sequence = find(id);
      sequence?.chain?.push(tokens[index] ?? 0);
      return sequence !== undefined;
    });
    for (const { id, start, rows } of step.chunks) find(id)?.confirm(start + rows, this.#cache);
    for (const { id } of step.chunks) find(id)?.inSteps.delete(step.number);
    return counted;
  }

  /**
   * A step failed and its slots have been closed in the engine: its requests are dropped, their pages are free.
   * Returns their ids.
   */
  fail(step: ScheduledStep): string[] {
    const moved = new Set([...step.reads, ...step.writes].map(({ id }) => id));
    const failed = [...this.#sequences.values()].filter(
      ({ inSteps, id }) => inSteps.has(step.number) || moved.has(id),
    );
    for (const sequence of failed) this.#drop(sequence);
    const closed = new Set(step.slots);
    this.#closing = this.#closing.filter((slot) => !closed.has(slot));
    return failed.map(({ id }) => id);
  }

  /** How many rows each running sequence may have: one for a decode, then prefill as far as the step goes. */
  #share(): { readonly rows: Map<Sequence, number>; readonly maxRows: number } {
    const { maxStepTokens, maxPrefillChunk = maxStepTokens } = this.#options;
    const decoding = this.#running.filter((sequence) => sequence.decoding).slice(0, maxStepTokens);
    const share = new Map(decoding.map((sequence) => [sequence, 1]));
    const decodes = share.size;
    const maxRows = decodes > 0 ? Math.min(maxStepTokens, decodes + maxPrefillChunk) : maxStepTokens;
    let left = maxRows - decodes;
    for (const sequence of this.#running) {
      const rows = Math.min(left, sequence.rowsInStep);
      if (sequence.decoding || rows <= 0) continue;
      share.set(sequence, rows);
      left -= rows;
    }
    return { rows: share, maxRows };
  }

  /** Whether running sequences have to give something up before their next rows fit. */
  #mustMakeRoom(draft: Draft): boolean {
    if (!this.#roomFor((room) => this.#neededNow(room)) || this.#nextToCompress(false)) return true;
    return !this.#swappable(draft) && this.#textToCompress(false) !== undefined;
  }

  /** Goes down the ladder until the running sequences' next rows fit. True when they did from the first. */
  #makeRoom(draft: Draft): boolean {
    for (let relieved = false; ; relieved = true) {
      const short = !this.#roomFor((room) => this.#neededNow(room));
      const compressed = this.#nextToCompress(short);
      if (compressed) {
        draft.recompressed.push(compressed.recompress(this.#source, draft.head));
        this.#counts.recompressions += 1;
        continue;
      }
      const swappable = this.#swappable(draft);
      const text = swappable ? undefined : this.#textToCompress(short);
      if (text) {
        draft.recompressed.push(text.recompressText(this.#source, draft.head));
        this.#counts.textRecompressions += 1;
        continue;
      }
      const victim = this.#running.at(-1);
      if (!short || !victim) return !relieved;
      if (swappable) {
        this.#swapOut(swappable, draft);
        continue;
      }
      const { slot } = victim;
      draft.head = draft.head.filter((change) => !('slot' in change && change.slot === slot));
      const alone = this.#running.length === 1;
      if (alone && victim.generated === victim.generatedAtRestart) {
        this.#exhaust(victim, draft);
        continue;
      }
      this.#preempt(victim);
      draft.preempted.push(victim.id);
      if (alone) this.#startAfresh(victim);
    }
  }

  /**
   * Whether what `count` counts can be had. Idle content is evicted where it alone keeps tails from room beside pages
   * that are in use.
   */
  #roomFor(count: (room: TailRoom) => number): boolean {
    if (count(this.#tailRoom()) <= this.#available) return true;
    if (count(FINDS_ROOM) > this.#available) return false;
    while (this.#cache.evict()) if (count(this.#tailRoom()) <= this.#available) return true;
    return false;
  }

  /** What stands between its pages goes, so that they lie as close together as they can when it is back. */
  #startAfresh(sequence: Sequence): void {
    sequence.generatedAtRestart = sequence.generated;
    while (this.#cache.evict());
  }

  /** Blocks that the running sequences' next rows take. */
  #neededNow(room: TailRoom): number {
    return [...this.#share().rows].reduce((sum, [sequence, rows]) => sum + sequence.blocksFor(room, rows), 0);
  }

  /** Room for a capsule's tail can be counted on once: each one after the first is taken to begin a block. */
  #tailRoom(): TailRoom {
    let asked = false;
    return {
      tailTakesBlock: (pages) => {
        const takes = asked || this.#source.tailTakesBlock(pages);
        asked = true;
        return takes;
      },
    };
  }

  /**
   * Whose picture is compressed: the last that may be, when pages are short or would not last for this very rung:
   * capsule and rows stand side by side for a moment.
   */
  #nextToCompress(short: boolean): Sequence | undefined {
    const next = this.#running.findLast((sequence) => {
      const blocks = sequence.blocksToRecompress(this.#source);
      return blocks !== undefined && blocks <= this.#available;
    });
    const lasts =
      !short && this.#roomFor((room) => this.#neededNow(room) + (next?.blocksToRecompress(room) ?? 0));
    return lasts ? undefined : next;
  }

  /** Whose text may be compressed, the last one first, when pages are short or would not last for this very rung. */
  #textToCompress(short: boolean): Sequence | undefined {
    return this.#running.findLast((sequence) => {
      const blocks = sequence.blocksToRecompressText(this.#source);
      if (blocks === undefined || blocks > this.#available) return false;
      const lasts =
        !short &&
        this.#roomFor((room) => this.#neededNow(room) + (sequence.blocksToRecompressText(room) ?? 0));
      return !lasts && sequence.hasTextToRecompress(this.#source);
    });
  }

  /** The last running sequence, where its bytes may be kept elsewhere and it leaves others behind. */
  #swappable({ head }: Draft): Sequence | undefined {
    const { swapPages = 0 } = this.#options;
    const victim = this.#running.at(-1);
    if (!victim || this.#running.length === 1 || this.#swappedPages >= swapPages) return undefined;
    // what is read is read before the changes: a capsule of this step is not there yet
    if (head.some((change) => 'slot' in change && change.slot === victim.slot)) return undefined;
    return this.#swappedPages + victim.pages.length <= swapPages ? victim : undefined;
  }

  #swapOut(sequence: Sequence, draft: Draft): void {
    const { pages } = sequence;
    draft.reads.push({ id: sequence.id, pages });
    this.#leaveSlot(sequence);
    this.#give(sequence.swapOut());
    this.#swappedPages += pages.length;
    this.#counts.swapsOut += 1;
    insertInOrder(this.#waiting, sequence);
  }

  #schedule(sequence: Sequence, rows: number, draft: Draft): void {
    const work = draft.work.get(sequence) ?? { changes: [], chunks: [], rows: 0, samples: false };
    draft.work.set(sequence, work);
    sequence.inSteps.add(draft.number);
    sequence.advance(rows, work, this.#source);
  }

  #admit(draft: Draft): void {
    for (;;) {
      // one whose features are made again may need what those behind it hold
      const next = this.#waiting.find(({ ready }) => ready);
      const rows = draft.maxRows - plannedRows(draft);
      if (!next || next.swapped || rows <= 0) return;
      if (this.#begin(next, draft)) this.#schedule(next, rows, draft);
      else if (next.ready && this.#running.length > 0) return;
      else if (next.ready) this.#exhaust(next, draft);
    }
  }

  #exhaust(sequence: Sequence, draft: Draft): void {
    draft.exhausted.push(sequence.id);
    this.#exhausted.set(sequence.id, sequence.describe());
    this.finish(sequence.id);
  }

  /** Starts a sequence with what the cache holds of it. False when it does not fit, or has to wait for features. */
  #begin(next: Sequence, draft: Draft): boolean {
    // at least the newest token is computed: its logits are what is asked for
    let match = next.chain && this.#cache.match(next.chain, next.totalTokens - 1);
    if (next.pictureAfter(match?.tokens ?? 0) < next.featuresFrom) {
      this.#leaveMatch(match);
      return this.#await(next, draft);
    }
    const blocks = next.blocksFor(this.#source, Infinity, match?.tokens ?? 0);
    let fits = this.#fits(next, blocks);
    if (!fits && match?.partial) {
      // the block that it would copy may be the one that is missing
      this.#cache.leave([match.partial.entry]);
      match = { ...match, partial: undefined };
      fits = this.#fits(next, blocks);
    }
    if (!fits) {
      this.#leaveMatch(match);
      if (!match || this.#running.length > 0) return false;
      // alone it fits without the cache, whose tails may keep blocks from it
      if (next.featuresFrom > 0) return this.#await(next, draft);
      if (!this.#fits(next, next.blocksFor(this.#source))) return false;
    }
    const work = this.#enterSlot(next, draft);
    if (match && fits) this.#attach(next, match, work);
    this.#counts.recomputedTokens += Math.max(0, next.lostTokens - next.computed);
    next.lostTokens = 0;
    if (!this.#admitted.has(next)) {
      const hits = Math.min(next.computed, next.request.promptTokens);
      this.#admitted.set(next, hits);
      this.#counts.tokens += next.request.promptTokens;
      this.#counts.hits += hits;
    }
    return true;
  }

  /** Lets a sequence wait for the features of its pictures. */
  #await(sequence: Sequence, draft: Draft): false {
    sequence.ready = false;
    draft.missing.push(sequence.id);
    return false;
  }

  #attach(sequence: Sequence, match: PrefixMatch, work: SequenceWork): void {
    this.#pages.share(match.entries.flatMap(({ runs }) => runs));
    const [copy] = match.partial ? this.#source.takeBlocks(1) : [];
    sequence.attach(match, copy, work);
    if (match.partial) this.#cache.leave([match.partial.entry]);
  }

  #leaveMatch(match: PrefixMatch | undefined): void {
    if (match) this.#cache.leave([...match.entries, ...(match.partial ? [match.partial.entry] : [])]);
  }

  /** Whether the next in order is a sequence that was swapped out, and its turn has come. */
  #resumable(): Sequence | undefined {
    const next = this.#waiting.find(({ ready }) => ready);
    if (!next?.swapped) return undefined;
    // one that does not fit alone never will
    return this.#running.length === 0 || this.#fitsAgain(next) ? next : undefined;
  }

  #fitsAgain(swapped: Sequence): boolean {
    const room = this.#tailRoom();
    const restored = swapped.blocksToRestore(room);
    const others = swapped.blocksFor(room) + this.#neededNow(room);
    if (!this.#fits(swapped, restored + others)) return false;
    // idle tails may keep its own from lying together, as they are counted
    if (!this.#fits(swapped, swapped.blocksToRestoreApart + others)) while (this.#cache.evict());
    return true;
  }

  /** Brings sequences' pages back as long as the next in order is one that was swapped out. */
  #resume(draft: Draft): void {
    for (let next = this.#resumable(); next; next = this.#resumable()) {
      if (!this.#fitsAgain(next)) {
        this.#exhaust(next, draft);
        continue;
      }
      next.restore(this.#source, this.#enterSlot(next, draft));
      const { id, pages } = next;
      draft.writes.push({ id, pages });
      this.#swappedPages -= pages.length;
      this.#counts.swapsIn += 1;
    }
  }

  /**
   * Whether a sequence's blocks fit beside what running prefills have yet to take, with a block to grow into for
   * each of those that run then: who comes is not to be sent away, or send others away, with the next block. And
   * with what recompression takes before it gives: else pictures would stand raw in a full pool.
   */
  #fits(next: Sequence, blocks: number): boolean {
    if (this.#freeSlots.length === 0) return false;
    if (this.#running.length === 0) return blocks <= this.#available;
    const promised = this.#running
      .filter(({ decoding }) => !decoding)
      .reduce((sum, other) => sum + other.blocksFor(this.#source), 0);
    const running = [...this.#running, next];
    const rungs = running.map((each) => each.mostBlocksToRecompress(this.#source));
    return blocks + Math.max(running.length, ...rungs) + promised <= this.#available;
  }

  /** Blocks that can be had: free, or held by nothing but idle content of the cache. */
  get #available(): number {
    return this.#pages.availableBlocks;
  }

  /** Evicts until what is asked for can be taken. */
  #sure<T>(take: () => T | undefined): T {
    for (;;) {
      const taken = take();
      if (taken !== undefined) return taken;
      if (!this.#cache.evict()) throw new Error('pages were promised that are not there');
    }
  }

  #enterSlot(sequence: Sequence, draft: Draft): SequenceWork {
    remove(this.#waiting, sequence);
    insertInOrder(this.#running, sequence);
    sequence.slot = this.#freeSlots.pop() ?? -1;
    const open: PageChange = { kind: 'open', slot: sequence.slot };
    const work: SequenceWork = { changes: [open], chunks: [], rows: 0, samples: false };
    draft.work.set(sequence, work);
    return work;
  }

  #leaveSlot(sequence: Sequence): void {
    if (sequence.slot < 0) return;
    remove(this.#running, sequence);
    this.#freeSlots.push(sequence.slot);
    this.#closing.push(sequence.slot);
  }

  #preempt(sequence: Sequence): void {
    this.#counts.preemptions += 1;
    sequence.lostTokens = sequence.computed;
    this.#stop(sequence);
    insertInOrder(this.#waiting, sequence);
  }

  #drop(sequence: Sequence): void {
    this.#sequences.delete(sequence.id);
    remove(this.#waiting, sequence);
    if (sequence.swapped) this.#swappedPages -= sequence.pages.length;
    this.#stop(sequence);
  }

  #stop(sequence: Sequence): void {
    this.#leaveSlot(sequence);
    this.#give(sequence.reset());
  }

  #give({ runs, entries }: ReturnType<Sequence['reset']>): void {
    this.#pages.release(runs);
    this.#cache.leave(entries);
  }
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
