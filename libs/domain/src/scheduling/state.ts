import { Coordinated, DEFAULT_EVICTION_POLICY, EVICTION_POLICIES, RebuildCosts } from '../eviction/index.js';
import type { CacheLog } from '../owners/index.js';
import { BLOCK_SHAPE, type BlockShape, type CacheEntry, PagePool, PrefixCache } from '../paging/index.js';
import { RUNG_NAMES, type RungName } from './accounts.js';
import { type StepBudget, stepBudget, type StepLimits } from './budget.js';
import { guestSlots } from './guests.js';
import { SequenceQueue } from './queue.js';
import { FINDS_ROOM, type PageSource, type TailRoom } from './sequence/page-source.js';
import type { Sequence } from './sequence/sequence.js';
import type { GivenBack } from './sequence/work.js';

export interface SchedulerOptions extends StepLimits {
  readonly blocks: number;
  /** Sequences that hold pages at one time, beside those of `guestSlots`. */
  readonly maxRunning: number;
  /** Pages whose bytes may be kept elsewhere while their sequences wait; 0 when absent. */
  readonly swapPages?: number;
  readonly shape?: BlockShape;
  /** What comes into the prefix cache and leaves it is written there. */
  readonly cacheLog?: CacheLog;
  /** Of the pool: what tenants are sure of for cached content, all together and in equal parts; 0 when absent. */
  readonly guaranteedShare?: number;
}

/** Who runs, who waits and what the pool has: what admission and the ladder decide by, and how they change it. */
export class SchedulerState {
  readonly shape: BlockShape;
  readonly pool: PagePool;
  readonly cache: PrefixCache;
  readonly costs = new RebuildCosts();
  readonly eviction: Coordinated<CacheEntry>;
  readonly source: PageSource;
  readonly running = new SequenceQueue();
  readonly waiting = new SequenceQueue();
  readonly counts = {
    recompressions: 0,
    textRecompressions: 0,
    swapsOut: 0,
    swapsIn: 0,
    preemptions: 0,
    recomputedTokens: 0,
    prefixTokens: 0,
    prefixHitTokens: 0,
    rungs: Object.fromEntries(RUNG_NAMES.map((rung) => [rung, 0])) as Record<RungName, number>,
    pictures: 0,
    pictureHits: new Map<number | undefined, number>(),
  };
  /** Rows of prefill that a step has at most, beside its limits: as many as its time allows. */
  prefillRows = Infinity;
  readonly #sequences = new Map<string, Sequence>();
  readonly #freeSlots: number[];
  /** Running sequences of each tenant. */
  readonly #tenants = new Map<string, number>();
  /** Slots given up since the last step. */
  #closing: number[] = [];
  #swappedPages = 0;
  #sharing = 0;

  constructor(readonly options: SchedulerOptions) {
    const { blocks, maxRunning, shape = BLOCK_SHAPE } = options;
    this.shape = shape;
    const pool = new PagePool(blocks, shape.pagesPerBlock);
    this.pool = pool;
    const { capacityPages } = pool;
    this.eviction = new Coordinated(EVICTION_POLICIES[DEFAULT_EVICTION_POLICY]<CacheEntry>(this.costs.of), {
      ...{ capacityPages, guaranteed: options.guaranteedShare ?? 0 },
    });
    this.cache = new PrefixCache(pool, this.eviction, options.cacheLog);
    this.source = {
      takeBlocks: (count) => this.#sure(() => pool.allocateBlocks(count)),
      takePages: (pages) => this.#sure(() => pool.allocatePages(pages)),
      tailTakesBlock: (pages) => pool.tailTakesBlock(pages),
      ownedAlone: (run) => pool.references(run) === (this.cache.holds(run) ? 2 : 1),
      release: (runs) => {
        pool.release(runs);
      },
      leave: (entries) => {
        this.#leave(entries);
      },
    };
    const slots = maxRunning + guestSlots(maxRunning);
    this.#freeSlots = Array.from({ length: slots }, (_, index) => slots - 1 - index);
  }

  /** Blocks that can be had: free, or held by nothing but idle content of the cache. */
  get available(): number {
    return this.pool.availableBlocks;
  }

  /** Whether there is a slot for it: one of those for all, or as a guest, of whose tenant nothing runs. */
  hasSlotFor({ tenant }: Sequence): boolean {
    if (this.running.size < this.options.maxRunning) return true;
    return this.#freeSlots.length > 0 && !this.#tenants.has(tenant);
  }

  /** Pages whose bytes are kept elsewhere. */
  get swappedPages(): number {
    return this.#swappedPages;
  }

  /** Another number whenever content has got or lost one of several users. */
  get sharing(): number {
    return this.#sharing;
  }

  get sequences(): ReadonlyMap<string, Sequence> {
    return this.#sequences;
  }

  find(id: string): Sequence | undefined {
    return this.#sequences.get(id);
  }

  budget(): StepBudget {
    return stepBudget(this.running.items, this.options, this.prefillRows);
  }

  /** Blocks that the running sequences' next rows take. */
  blocksForNext({ rows }: StepBudget, room: TailRoom): number {
    let blocks = 0;
    for (const [sequence, count] of rows) blocks += sequence.blocksFor(room, count);
    return blocks;
  }

  /** Room for a stored span's tail can be counted on once: each one after the first is taken to begin a block. */
  tailRoom(): TailRoom {
    let asked = false;
    return {
      tailTakesBlock: (pages) => {
        const takes = asked || this.source.tailTakesBlock(pages);
        asked = true;
        return takes;
      },
    };
  }

  /** Whether what does not fit would, if nothing that is idle kept tails from room beside pages that are in use. */
  fitsWithoutIdle(count: (room: TailRoom) => number): boolean {
    return count(FINDS_ROOM) <= this.available;
  }

  add(sequence: Sequence): void {
    this.#sequences.set(sequence.id, sequence);
    this.waiting.insert(sequence);
  }

  enterSlot(sequence: Sequence): void {
    this.waiting.remove(sequence);
    this.running.insert(sequence);
    this.#tenants.set(sequence.tenant, (this.#tenants.get(sequence.tenant) ?? 0) + 1);
    sequence.slot = this.#freeSlots.pop() ?? -1;
  }

  /** Slots given up, which the next step is to close. */
  get closing(): readonly number[] {
    return this.#closing;
  }

  /** A step closes these slots, or they are closed already. */
  closed(slots: readonly number[]): void {
    const gone = new Set(slots);
    this.#closing = this.#closing.filter((slot) => !gone.has(slot));
  }

  swapOut(sequence: Sequence): void {
    this.#leaveSlot(sequence);
    this.#give(sequence.swapOut());
    this.#swappedPages += sequence.table.pageCount;
    this.counts.swapsOut += 1;
    this.waiting.insert(sequence);
  }

  /** A sequence begins with what it found in the cache. */
  share(entries: readonly CacheEntry[]): void {
    this.pool.share(entries.flatMap(({ runs }) => runs));
    this.cache.begin(entries);
    if (entries.some(({ users }) => users > 1)) this.#sharing += 1;
  }

  /** A swapped sequence's pages are in the pool again. */
  swappedIn(sequence: Sequence): void {
    this.#swappedPages -= sequence.table.pageCount;
    this.counts.swapsIn += 1;
  }

  preempt(sequence: Sequence): void {
    this.counts.preemptions += 1;
    sequence.lostTokens = sequence.progress.computed;
    this.#stop(sequence);
    this.waiting.insert(sequence);
  }

  /** A sequence ends; what it has computed stays in the cache. */
  end(sequence: Sequence): void {
    sequence.sealTail(this.cache);
    this.drop(sequence);
  }

  /** A sequence ends, and nothing is known of the rows of its last step. */
  drop(sequence: Sequence): void {
    this.#sequences.delete(sequence.id);
    this.waiting.remove(sequence);
    if (sequence.swapped) this.#swappedPages -= sequence.table.pageCount;
    this.#stop(sequence);
  }

  #stop(sequence: Sequence): void {
    this.#leaveSlot(sequence);
    this.#give(sequence.reset());
  }

  #leaveSlot(sequence: Sequence): void {
    if (sequence.slot < 0) return;
    this.running.remove(sequence);
    const left = (this.#tenants.get(sequence.tenant) ?? 0) - 1;
    if (left > 0) this.#tenants.set(sequence.tenant, left);
    else this.#tenants.delete(sequence.tenant);
    this.#freeSlots.push(sequence.slot);
    this.#closing.push(sequence.slot);
  }

  #give({ runs, entries }: GivenBack): void {
    this.pool.release(runs);
    this.#leave(entries);
  }

  #leave(entries: readonly CacheEntry[]): void {
    this.cache.leave(entries);
    if (entries.some(({ users }) => users > 0)) this.#sharing += 1;
  }

  /** Evicts until what is asked for can be taken. */
  #sure<T>(take: () => T | undefined): T {
    for (;;) {
      const taken = take();
      if (taken !== undefined) return taken;
      if (!this.cache.evict('allocation')) throw new Error('pages were promised that are not there');
    }
  }
}
