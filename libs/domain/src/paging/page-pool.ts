/**
 * Which pages of the pool are held, and by how many. Pages are given out in **runs**: consecutive pages inside one
 * block, named by their first page. A raw block is a run of all its pages. A stored span takes whole blocks and one
 * shorter run for its tail, which lies in a block beside other spans' tails.
 *
 * At all times `freePages + heldPages === capacityPages`, no page is in two runs, and a run is free exactly when it
 * has no references. Tails go beside pinned ones first, and there where they leave the least room over, so that whole
 * blocks stay free for raw rows.
 *
 * A held run is **pinned** unless its only holder has said that it may be taken back (`setIdle`). Blocks without a
 * pinned run are **available**: free, or free as soon as their holders let go.
 */
export class PagePool {
  readonly capacityPages: number;
  /** Bit p of a block's byte: its page p is free. */
  readonly #free: Uint8Array;
  /** Wholly free blocks; the last one is given out next, so that recently used memory stays warm. */
  readonly #freeBlocks: number[];
  /** Partly free blocks with a pinned run, by their longest run of free pages. */
  readonly #pinnedHoles: Set<number>[];
  /** The same without one. */
  readonly #idleHoles: Set<number>[];
  /** Of the run that begins at a page; 0 elsewhere. */
  readonly #references: Int32Array;
  readonly #lengths: Uint8Array;
  /** 1 where a run begins whose holder may have to let it go. */
  readonly #idle: Uint8Array;
  /** Pinned runs of a block. */
  readonly #pinned: Uint8Array;
  #availableBlocks: number;
  #freePages: number;

  constructor(
    readonly blocks: number,
    readonly pagesPerBlock: number,
  ) {
    if (!Number.isInteger(blocks) || blocks < 1) throw new RangeError('a pool needs at least one block');
    if (!(pagesPerBlock >= 1 && pagesPerBlock <= 8)) throw new RangeError('a block has one to eight pages');
    this.capacityPages = blocks * pagesPerBlock;
    this.#freePages = this.capacityPages;
    this.#free = new Uint8Array(blocks).fill(this.#wholeBlock);
    this.#freeBlocks = Array.from({ length: blocks }, (_, index) => blocks - 1 - index);
    this.#pinnedHoles = Array.from({ length: pagesPerBlock }, () => new Set<number>());
    this.#idleHoles = Array.from({ length: pagesPerBlock }, () => new Set<number>());
    this.#references = new Int32Array(this.capacityPages);
    this.#lengths = new Uint8Array(this.capacityPages);
    this.#idle = new Uint8Array(this.capacityPages);
    this.#pinned = new Uint8Array(blocks);
    this.#availableBlocks = blocks;
  }

  get freePages(): number {
    return this.#freePages;
  }

  get heldPages(): number {
    return this.capacityPages - this.#freePages;
  }

  /** Wholly free blocks: what raw rows can get. */
  get freeBlocks(): number {
    return this.#freeBlocks.length;
  }

  /** Blocks without a pinned run: what raw rows can get when all that is idle is let go. */
  get availableBlocks(): number {
    return this.#availableBlocks;
  }

  /** Whether a stored span's tail of so many pages would take one of the available blocks. */
  tailTakesBlock(pages: number): boolean {
    return pages > 0 && this.#pinnedHoles.slice(pages).every((blocks) => blocks.size === 0);
  }

  /** All of `count` blocks with one reference each or, when fewer are free, none (`undefined`). */
  allocateBlocks(count: number): number[] | undefined {
    if (!Number.isInteger(count) || count < 0) throw new RangeError('a block count is a natural number');
    if (count > this.#freeBlocks.length) return undefined;
    return Array.from({ length: count }, () => {
      const block = this.#freeBlocks.pop() ?? 0;
      this.#hold(block, 0, this.pagesPerBlock);
      return block;
    });
  }

  /** All pages of a stored span with one reference a run, whole blocks first, or none (`undefined`). */
  allocatePages(pages: number): number[] | undefined {
    if (!Number.isInteger(pages) || pages < 1) throw new RangeError('a stored span has at least one page');
    const tail = pages % this.pagesPerBlock;
    const whole = (pages - tail) / this.pagesPerBlock;
    if (whole + (this.#tailTakesFreeBlock(tail) ? 1 : 0) > this.freeBlocks) return undefined;
    const taken = (this.allocateBlocks(whole) ?? []).flatMap((block) =>
      this.#pages(block * this.pagesPerBlock, this.pagesPerBlock),
    );
    return tail === 0 ? taken : [...taken, ...this.#pages(this.#allocateTail(tail), tail)];
  }

  /** References of a run; 0 when it is not held. */
  references(run: number): number {
    return this.#references[run] ?? 0;
  }

  /** Pages of the run that begins there; 0 when it is not held. */
  pagesOf(run: number): number {
    return this.#lengths[run] ?? 0;
  }

  /** One more holder for each run. Throws, changing nothing, when one of them is not held. */
  share(runs: readonly number[]): void {
    for (const run of runs)
      if (this.references(run) < 1) throw new Error(`page ${run} does not begin a held run`);
    for (const run of runs) this.#count(run, 1);
  }

  /** Says of held runs whether they are let go when pages are short, as far as nobody else holds them. */
  setIdle(runs: readonly number[], idle: boolean): void {
    for (const run of runs) {
      const before = this.#isPinned(run);
      this.#idle[run] = idle ? 1 : 0;
      this.#pin(run, before);
    }
  }

  /** One holder less for each run; the last one frees it. Throws, changing nothing, when one is not held so often. */
  release(runs: readonly number[]): void {
    const times = new Map<number, number>();
    for (const run of runs) {
      const count = (times.get(run) ?? 0) + 1;
      if (count > this.references(run)) throw new Error(`page ${run} does not begin a held run`);
      times.set(run, count);
    }
    for (const run of runs) {
      if (this.references(run) === 1) this.#giveBack(run);
      else this.#count(run, -1);
    }
  }

  get #wholeBlock(): number {
    return 2 ** this.pagesPerBlock - 1;
  }

  #pages(first: number, count: number): number[] {
    return Array.from({ length: count }, (_, index) => first + index);
  }

  #tailTakesFreeBlock(pages: number): boolean {
    return this.tailTakesBlock(pages) && this.#idleHoles.slice(pages).every((blocks) => blocks.size === 0);
  }

  /** First page of a fresh tail run. The caller has made sure that there is room. */
  #allocateTail(pages: number): number {
    const holes = [...this.#pinnedHoles.slice(pages), ...this.#idleHoles.slice(pages)];
    const [partial] = holes.find((blocks) => blocks.size > 0) ?? [];
    const block = partial ?? this.#freeBlocks.pop() ?? 0;
    const offset = shortestFit(this.#free[block] ?? 0, pages);
    this.#unfile(block);
    this.#hold(block, offset, pages);
    this.#file(block);
    return block * this.pagesPerBlock + offset;
  }

  #hold(block: number, offset: number, pages: number): void {
    const run = block * this.pagesPerBlock + offset;
    this.#free[block] = (this.#free[block] ?? 0) & ~((2 ** pages - 1) << offset);
    this.#references[run] = 1;
    this.#lengths[run] = pages;
    this.#freePages -= pages;
    this.#addPinned(block, 1);
  }

  #giveBack(run: number): void {
    const pages = this.#lengths[run] ?? 0;
    const block = this.#blockOf(run);
    this.#unfile(block);
    if (this.#isPinned(run)) this.#addPinned(block, -1);
    this.#free[block] = (this.#free[block] ?? 0) | ((2 ** pages - 1) << (run % this.pagesPerBlock));
    this.#references[run] = 0;
    this.#lengths[run] = 0;
    this.#idle[run] = 0;
    this.#freePages += pages;
    this.#file(block);
  }

  #count(run: number, holders: 1 | -1): void {
    const before = this.#isPinned(run);
    this.#references[run] = this.references(run) + holders;
    this.#pin(run, before);
  }

  #isPinned(run: number): boolean {
    return this.references(run) > (this.#idle[run] ?? 0);
  }

  /** Brings a block's account up to what one of its runs has become. */
  #pin(run: number, before: boolean): void {
    const after = this.#isPinned(run);
    if (after === before) return;
    const block = this.#blockOf(run);
    this.#unfile(block);
    this.#addPinned(block, after ? 1 : -1);
    this.#file(block);
  }

  #addPinned(block: number, runs: 1 | -1): void {
    const before = this.#pinned[block] ?? 0;
    const after = before + runs;
    this.#pinned[block] = after;
    if (before === 0) this.#availableBlocks -= 1;
    if (after === 0) this.#availableBlocks += 1;
  }

  #blockOf(run: number): number {
    return Math.floor(run / this.pagesPerBlock);
  }

  /** Takes a block that is not wholly free from where the next allocation looks for it. */
  #unfile(block: number): void {
    this.#holesOf(block)?.delete(block);
  }

  /** Puts a block where the next allocation looks for it. */
  #file(block: number): void {
    if (this.#free[block] === this.#wholeBlock) this.#freeBlocks.push(block);
    else this.#holesOf(block)?.add(block);
  }

  #holesOf(block: number): Set<number> | undefined {
    const free = this.#free[block] ?? 0;
    const holes = (this.#pinned[block] ?? 0) > 0 ? this.#pinnedHoles : this.#idleHoles;
    return free === 0 ? undefined : holes[longestRun(free)];
  }
}

/** The runs that a stored span's pages make, for `share` and `release`. */
export function pageRuns(pages: readonly number[], pagesPerBlock: number): number[] {
  return pages.filter((_, index) => index % pagesPerBlock === 0);
}

/** Longest run of ones. */
function longestRun(bits: number): number {
  let length = 0;
  for (let rest = bits; rest !== 0; rest &= rest << 1) length += 1;
  return length;
}

/** Where the shortest run of ones begins that is long enough. */
function shortestFit(bits: number, length: number): number {
  let best = { offset: 0, room: Infinity };
  for (let offset = 0; bits >> offset !== 0;) {
    let room = 0;
    while (((bits >> (offset + room)) & 1) === 1) room += 1;
    if (room >= length && room < best.room) best = { offset, room };
    offset += room + 1;
  }
  return best.offset;
}
