import type { SizeCode } from './content-size.js';
import type { Owners } from './owner-sets.js';

/** The first 128 bits of a name. */
export type NameWords = Uint32Array & { readonly length: 4 };

export const NAME_WORDS = 4;
const FIRST_SLOTS = 16;
/** Of the slots; beyond it the table grows, by half. */
const FULL = 0.8;
/** A name, its owners, its size and whether it was asked for. */
const SLOT_BYTES = 4 * NAME_WORDS + 4 + 2;
/** Of a slot's note; the bits above it are the size. */
const ASKED = 1;

/**
 * Names and their owners, open addressing over typed arrays: 22 bytes a slot, 28 to 42 a name. Holds so many names at
 * most; a name that comes then takes the place of one that was not asked for since the hand last passed it.
 */
export class NameTable {
  #slots = FIRST_SLOTS;
  #names = new Uint32Array(NAME_WORDS * FIRST_SLOTS);
  /** 0 where a slot is empty. */
  #owners = new Uint32Array(FIRST_SLOTS);
  #notes = new Uint16Array(FIRST_SLOTS);
  #size = 0;
  #hand = 0;

  constructor(
    private readonly capacity: number,
    /** Called with the owners and the size of a name that had to make room. */
    private readonly evicted: (owners: Owners, size: SizeCode) => void,
  ) {}

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#slots * SLOT_BYTES;
  }

  /** 0 for an unknown name. */
  get(name: NameWords): Owners {
    return this.#owners[this.#find(name)] as Owners;
  }

  /** As `get`, of a name that a request looks for. */
  ask(name: NameWords): Owners {
    const slot = this.#find(name);
    this.#notes[slot] = (this.#notes[slot] ?? 0) | ASKED;
    return this.#owners[slot] as Owners;
  }

  /**
   * With owners 0 the name goes.
   * @param size of content that is new here
   * @returns the size that the name counts with: that of the first who told of it
   */
  set(name: NameWords, owners: Owners, size: SizeCode): SizeCode {
    let slot = this.#find(name);
    if (this.#owners[slot] !== 0) {
      const known = this.#sizeAt(slot);
      if (owners === 0) this.#delete(slot);
      else this.#owners[slot] = owners;
      return known;
    }
    if (owners === 0) return size;
    if (this.#size >= this.capacity) this.#evict();
    else if (this.#size + 1 > this.#slots * FULL) this.#grow();
    slot = this.#find(name);
    this.#names.set(name, NAME_WORDS * slot);
    this.#owners[slot] = owners;
    this.#notes[slot] = size << 1;
    this.#size += 1;
    return size;
  }

  /** Gives every name the owners that `change` makes of those it has. */
  revise(change: (owners: Owners, size: SizeCode) => Owners): void {
    for (let slot = 0; slot < this.#slots; slot += 1) {
      // what is deleted may leave its slot to another
      for (let before = this.#owners[slot]; before; before = this.#owners[slot]) {
        const after = change(before as Owners, this.#sizeAt(slot));
        if (after === 0) this.#delete(slot);
        else this.#owners[slot] = after;
        if (after !== 0) break;
      }
    }
  }

  /** Of the name, or the empty one where it belongs. */
  #find(name: NameWords): number {
    // each by itself: what is taken apart from an array lies on the heap, here twice for every name that is looked up
    const names = this.#names;
    const owners = this.#owners;
    const a = name[0];
    const b = name[1] ?? 0;
    const c = name[2];
    const d = name[3];
    for (let slot = b % this.#slots; ; slot = this.#after(slot)) {
      if (owners[slot] === 0) return slot;
      const at = NAME_WORDS * slot;
      if (names[at] === a && names[at + 1] === b && names[at + 2] === c && names[at + 3] === d) return slot;
    }
  }

  #sizeAt(slot: number): SizeCode {
    return ((this.#notes[slot] ?? 0) >> 1) as SizeCode;
  }

  #after(slot: number): number {
    return slot + 1 === this.#slots ? 0 : slot + 1;
  }

  #evict(): void {
    for (;;) {
      const slot = this.#hand;
      this.#hand = this.#after(slot);
      const owners = this.#owners[slot];
      if (!owners) continue;
      const note = this.#notes[slot] ?? 0;
      if ((note & ASKED) === 0) {
        const size = this.#sizeAt(slot);
        this.#delete(slot);
        this.evicted(owners as Owners, size);
        return;
      }
      this.#notes[slot] = note - ASKED;
    }
  }

  /** Moves up what stands behind it and would not be found past an empty slot. */
  #delete(gap: number): void {
    this.#size -= 1;
    let empty = gap;
    for (let slot = this.#after(gap); this.#owners[slot] !== 0; slot = this.#after(slot)) {
      const home = (this.#names[NAME_WORDS * slot + 1] ?? 0) % this.#slots;
      if (this.#distance(home, slot) < this.#distance(empty, slot)) continue;
      this.#move(slot, empty);
      empty = slot;
    }
    this.#owners[empty] = 0;
    this.#notes[empty] = 0;
  }

  #distance(from: number, to: number): number {
    return to >= from ? to - from : to + this.#slots - from;
  }

  #move(from: number, to: number): void {
    this.#names.copyWithin(NAME_WORDS * to, NAME_WORDS * from, NAME_WORDS * (from + 1));
    this.#owners[to] = this.#owners[from] ?? 0;
    this.#notes[to] = this.#notes[from] ?? 0;
  }

  #grow(): void {
    const [slots, names, owners, notes] = [this.#slots, this.#names, this.#owners, this.#notes];
    this.#slots = Math.ceil(slots * 1.5);
    this.#names = new Uint32Array(NAME_WORDS * this.#slots);
    this.#owners = new Uint32Array(this.#slots);
    this.#notes = new Uint16Array(this.#slots);
    this.#hand = 0;
    for (let slot = 0; slot < slots; slot += 1) {
      if (!owners[slot]) continue;
      const name = names.subarray(NAME_WORDS * slot, NAME_WORDS * (slot + 1));
      const to = this.#find(name as NameWords);
      this.#names.set(name, NAME_WORDS * to);
      this.#owners[to] = owners[slot] ?? 0;
      this.#notes[to] = notes[slot] ?? 0;
    }
  }
}
