import type { CacheEntry, PrefixMatch } from '../paging/index.js';
import { type Draft, plannedRows } from './draft.js';
import type { Sequence } from './sequence/sequence.js';
import type { SequenceWork } from './sequence/work.js';
import type { SchedulerState } from './state.js';
import type { PageChange } from './step.js';

/** Lets waiting sequences in, in their order, while rows and pages last. */
export class Admission {
  /** Tokens that the cache held of each sequence when it was first admitted. */
  readonly #admitted = new WeakMap<Sequence, number>();

  constructor(private readonly state: SchedulerState) {}

  /** Tokens of the prompt that were not computed when the sequence was first admitted; 0 before. */
  cachedTokens(sequence: Sequence): number {
    return this.#admitted.get(sequence) ?? 0;
  }

  /** Starts sequences for the step. */
  admit(draft: Draft): void {
    const { running } = this.state;
    for (;;) {
      const next = this.#next();
      const rows = draft.maxRows - plannedRows(draft);
      if (!next || next.swapped || rows <= 0) return;
      if (this.#begin(next, draft)) schedule(this.state, next, rows, draft);
      else if (next.ready && running.size > 0) return;
      else if (next.ready) exhaust(this.state, next, draft);
    }
  }

  /** The next in order, where it was swapped out and its turn has come. */
  get resumable(): Sequence | undefined {
    const next = this.#next();
    if (!next?.swapped) return undefined;
    // one that does not fit alone never will
    return this.state.running.size === 0 || this.#fitsAgain(next) ? next : undefined;
  }

  /** Brings sequences' pages back as long as the next in order is one that was swapped out. */
  resume(draft: Draft): void {
    const { state } = this;
    for (let next = this.resumable; next; next = this.resumable) {
      if (!this.#fitsAgain(next)) {
        exhaust(state, next, draft);
        continue;
      }
      if (!this.#fitsApart(next)) while (state.cache.evict('restore'));
      next.restore(state.source, this.#enterSlot(next, draft));
      draft.writes.push({ id: next.id, pages: next.table.pages });
      state.swappedIn(next);
    }
  }

  /**
   * One whose features are made again may need what those behind it hold, so it is passed; and where only guests find a
   * slot, so are those that are none.
   */
  #next(): Sequence | undefined {
    let first: Sequence | undefined;
    for (const sequence of this.state.waiting.items) {
      if (!sequence.ready) continue;
      if (this.state.hasSlotFor(sequence)) return sequence;
      first ??= sequence;
    }
    return first;
  }

  /** Starts a sequence with what the cache holds of it. False when it does not fit, or has to wait for features. */
  #begin(next: Sequence, draft: Draft): boolean {
    const { state } = this;
    if (!state.hasSlotFor(next) && next.featuresFrom === 0) return false;
    // at least the newest token is computed: its logits are what is asked for
    const found = next.chain && state.cache.match(next.chain, next.progress.totalTokens - 1);
    if (next.progress.pictureAfter(found?.tokens ?? 0) < next.featuresFrom) {
      this.#leave(found);
      return awaitFeatures(next, draft);
    }
    const match = this.#fitting(next, found);
    if (match) this.#attach(next, match, this.#enterSlot(next, draft));
    else {
      if (found && state.running.size > 0) return false;
      // alone it fits without the cache, whose tails may keep blocks from it
      if (found && next.featuresFrom > 0) return awaitFeatures(next, draft);
      if (!this.#fits(next, next.blocksFor(state.source))) return false;
      this.#enterSlot(next, draft);
    }
    this.#count(next, match?.entries ?? []);
    return true;
  }

  /** What of a match leaves room for the rest of the sequence; what does not is used no more. */
  #fitting(next: Sequence, found: PrefixMatch | undefined): PrefixMatch | undefined {
    const { cache, source } = this.state;
    if (!found) return undefined;
    const blocks = next.blocksFor(source, Infinity, found.tokens);
    if (this.#fits(next, blocks)) return found;
    if (found.partial) {
      // the block that it would copy may be the one that is missing
      cache.leave([found.partial.entry]);
      if (this.#fits(next, blocks)) return { ...found, partial: undefined };
    }
    cache.leave(found.entries);
    return undefined;
  }

  #leave(match: PrefixMatch | undefined): void {
    if (match) this.state.cache.leave([...match.entries, ...(match.partial ? [match.partial.entry] : [])]);
  }

  #attach(sequence: Sequence, match: PrefixMatch, work: SequenceWork): void {
    const { state } = this;
    state.share(match.entries);
    const [copy] = match.partial ? state.source.takeBlocks(1) : [];
    sequence.attach(match, copy, work);
    if (match.partial) state.cache.leave([match.partial.entry]);
  }

  #count(next: Sequence, entries: readonly CacheEntry[]): void {
    const { counts } = this.state;
    const { computed } = next.progress;
    counts.recomputedTokens += Math.max(0, next.lostTokens - computed);
    next.lostTokens = 0;
    if (this.#admitted.has(next)) return;
    const { promptTokens } = next.request;
    const hits = Math.min(computed, promptTokens);
    this.#admitted.set(next, hits);
    counts.prefixTokens += promptTokens;
    counts.prefixHitTokens += hits;
    this.#countPictures(next, entries);
  }

  #fitsAgain(swapped: Sequence): boolean {
    const room = this.state.tailRoom();
    const restored = swapped.blocksToRestore(room);
    return this.#fits(swapped, restored + swapped.blocksFor(room) + this.#running(room));
  }

  /** Idle tails may keep a sequence's own from lying together, as they are counted elsewhere. */
  #fitsApart(swapped: Sequence): boolean {
    const room = this.state.tailRoom();
    return this.#fits(swapped, swapped.blocksToRestoreApart + swapped.blocksFor(room) + this.#running(room));
  }

  #running(room: ReturnType<SchedulerState['tailRoom']>): number {
    return this.state.blocksForNext(this.state.budget(), room);
  }

  #countPictures({ request: { pictures } }: Sequence, entries: readonly CacheEntry[]): void {
    const { counts } = this.state;
    counts.pictures += pictures.length;
    for (const { content } of entries) {
      if (content.kind !== 'picture') continue;
      const format = content.stored?.format;
      counts.pictureHits.set(format, (counts.pictureHits.get(format) ?? 0) + 1);
    }
  }

  /**
   * Whether a sequence's blocks fit beside what running prefills have yet to take, with a block to grow into for
   * each of those that run then: the newcomer is not to be preempted, or preempt others, at the next block. And
   * with what recompression takes before it gives: else pictures would stand raw in a full pool.
   */
  #fits(next: Sequence, blocks: number): boolean {
    const { available, running, source } = this.state;
    if (!this.state.hasSlotFor(next)) return false;
    if (running.size === 0) return blocks <= available;
    let spare = Math.max(running.size + 1, next.mostBlocksToRecompress(source));
    if (blocks + spare > available) return false;
    let promised = 0;
    for (const other of running.items) {
      if (!other.progress.decoding) promised += other.blocksFor(source);
      spare = Math.max(spare, other.mostBlocksToRecompress(source));
      if (blocks + spare + promised > available) return false;
    }
    return true;
  }

  #enterSlot(sequence: Sequence, draft: Draft): SequenceWork {
    this.state.enterSlot(sequence);
    const open: PageChange = { kind: 'open', slot: sequence.slot };
    const work: SequenceWork = { changes: [open], chunks: [], rows: 0, samples: false };
    draft.work.set(sequence, work);
    return work;
  }
}

/** Gives a sequence rows of the step. */
export function schedule(state: SchedulerState, sequence: Sequence, rows: number, draft: Draft): void {
  const work = draft.work.get(sequence) ?? { changes: [], chunks: [], rows: 0, samples: false };
  draft.work.set(sequence, work);
  sequence.inSteps.add(draft.number);
  sequence.advance(rows, work, state.source);
}

/** Ends a sequence that the pool has no room for. */
export function exhaust(state: SchedulerState, sequence: Sequence, draft: Draft): void {
  draft.exhausted.set(sequence.id, sequence.describe());
  state.end(sequence);
}

/** Lets a sequence wait for the features of its pictures. */
function awaitFeatures(sequence: Sequence, draft: Draft): false {
  sequence.ready = false;
  draft.missing.push(sequence.id);
  return false;
}
