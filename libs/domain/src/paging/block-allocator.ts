/**
 * Which blocks of the pool are free. Allocation is by whole blocks; accounts are in pages, the unit of leases
 * and metrics. At all times `freePages + heldPages === capacityPages`.
 */
export class BlockAllocator {
  /** Free block numbers; the last one is given out next, so that recently used memory stays warm. */
  readonly #free: number[];
  readonly #held: Uint8Array;

  constructor(
    readonly blocks: number,
    readonly pagesPerBlock: number,
  ) {
    if (!Number.isInteger(blocks) || blocks < 1) throw new RangeError('a pool needs at least one block');
    this.#free = Array.from({ length: blocks }, (_, index) => blocks - 1 - index);
    this.#held = new Uint8Array(blocks);
  }

  get freeBlocks(): number {
    return this.#free.length;
  }

  get capacityPages(): number {
    return this.blocks * this.pagesPerBlock;
  }

  get freePages(): number {
    return this.#free.length * this.pagesPerBlock;
  }

  get heldPages(): number {
    return this.capacityPages - this.freePages;
  }

  /** All of `count` blocks or, when fewer are free, none (`undefined`). */
  allocate(count: number): number[] | undefined {
    if (!Number.isInteger(count) || count < 0) throw new RangeError('a block count is a natural number');
    if (count > this.#free.length) return undefined;
    if (count === 0) return [];
    const taken = this.#free.splice(this.#free.length - count, count).reverse();
    for (const block of taken) this.#held[block] = 1;
    return taken;
  }

  /** Gives blocks back. Throws, changing nothing, when one of them is not held or is named twice. */
  free(blocks: readonly number[]): void {
    if (new Set(blocks).size !== blocks.length) throw new Error('a block is freed twice in one call');
    for (const block of blocks) {
      if (this.#held[block] !== 1) throw new Error(`block ${block} is not held`);
    }
    for (const block of blocks) {
      this.#held[block] = 0;
      this.#free.push(block);
    }
  }
}
