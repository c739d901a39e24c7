import { type ContentSize, type SizeCode, sizeCode } from './content-size.js';
import { type Holding, Holdings } from './holdings.js';
import { NAME_WORDS, NameTable, type NameWords } from './name-table.js';
import { MOST_WORKERS, NOBODY, type Owners, OwnerSets } from './owner-sets.js';

/** A worker's content from one telling of all it holds to the next; as another one it begins anew. */
export type OwnerNumber = number & { readonly __brand: 'OwnerNumber' };

export interface OwnersIndexOptions {
  /** Names that are kept at most; of more, those go that no request has asked for lately. */
  readonly maxNames: number;
}

/** Of content that is told of without one. */
const NO_SIZE: ContentSize = { tokens: 0, pages: 0 };

/** Tables by the first bits of names, so that none grows, or is swept, at one time with all of a million names. */
const TABLES = 256;

/** A name's owners before and after; before counted while its set was there. */
interface Change {
  readonly before: Owners;
  readonly count: number;
  readonly after: Owners;
}

/**
 * Which workers hold which names, as they have told. Bounded; what it has forgotten is placed by load alone. Names are
 * 128 bits: 28 to 42 bytes each with their owners.
 */
export class OwnersIndex {
  readonly #sets = new OwnerSets();
  readonly #holdings = new Holdings();
  readonly #tables: readonly NameTable[];
  /** By number: whether it is a worker's that has not left. */
  readonly #present: boolean[] = [];
  readonly #freeNumbers: number[] = [];
  /** Numbers of those that left, until no name has them. */
  #left = new Set<number>();
  #sweeping = new Set<number>();
  #swept = 0;
  #pairs = 0;
  /** Of the name that is looked at. */
  readonly #words = new Uint32Array(NAME_WORDS) as NameWords;

  constructor({ maxNames }: OwnersIndexOptions) {
    const evicted = (owners: Owners, size: SizeCode): void => {
      this.#pairs -= this.#sets.count(owners);
      this.#holdings.moved(owners, NOBODY, size);
      this.#sets.each(owners, (owner) => {
        this.#holdings.count(owner, size, -1);
      });
      this.#sets.release(owners);
    };
    const capacity = Math.max(1, Math.floor(maxNames / TABLES));
    this.#tables = Array.from({ length: TABLES }, () => new NameTable(capacity, evicted));
  }

  /** Names that are known. */
  get names(): number {
    return this.#tables.reduce((sum, { size }) => sum + size, 0);
  }

  /** Names times those who hold each, they who left included until they are swept. */
  get pairs(): number {
    return this.#pairs;
  }

  get bytes(): number {
    return this.#tables.reduce((sum, { bytes }) => sum + bytes, this.#sets.bytes);
  }

  /** A worker of which nothing is known yet; undefined where there are too many. */
  join(): OwnerNumber | undefined {
    const number = this.#freeNumbers.pop() ?? this.#present.length;
    if (number >= MOST_WORKERS) return undefined;
    this.#present[number] = true;
    this.#holdings.begin(number);
    return number as OwnerNumber;
  }

  /** All that it held is void. What is kept of it goes with `sweep`. */
  leave(owner: OwnerNumber): void {
    if (!this.#present[owner]) return;
    this.#present[owner] = false;
    this.#left.add(owner);
  }

  stored(owner: OwnerNumber, name: Uint8Array, size = NO_SIZE): void {
    const table = this.#look(name);
    const before = table.get(this.#words);
    const change = { before, count: this.#sets.count(before), after: this.#sets.with(before, owner) };
    this.#put(table, owner, change, sizeCode(size));
  }

  removed(owner: OwnerNumber, name: Uint8Array): void {
    const table = this.#look(name);
    const before = table.get(this.#words);
    const change = { before, count: this.#sets.count(before), after: this.#sets.without(before, owner) };
    this.#put(table, owner, change, sizeCode(NO_SIZE));
  }

  /** What a worker's caches hold; of one that has left nothing is to be asked. */
  holding(owner: OwnerNumber): Holding {
    return this.#holdings.of(owner);
  }

  /** Who hold it. */
  ownersOf(name: Uint8Array): number[] {
    return this.#membersOf(this.#look(name).get(this.#words));
  }

  /** Who hold one of a request's names, which it is asked for: it is kept for longer. */
  ask(name: Uint8Array): number[] {
    return this.#membersOf(this.#ask(name));
  }

  /**
   * How many of these names, from the first on, each worker holds; those that hold none are left out. Reads no further
   * than anybody's.
   */
  prefixes(names: Pick<readonly Uint8Array[], 'at'>): Map<OwnerNumber, number> {
    const reach = new Map<OwnerNumber, number>();
    let holders: number[] | undefined;
    let before = NOBODY;
    let count = 0;
    for (let name = names.at(0); name; name = names.at(count)) {
      const owners = this.#ask(name);
      if (!holders) holders = this.#membersOf(owners);
      // most names of a chain have the same owners
      else if (owners !== before) {
        holders = this.#sets.keep(holders, owners, (gone) => reach.set(gone as OwnerNumber, count));
      }
      before = owners;
      if (holders.length === 0) break;
      count += 1;
    }
    for (const holder of holders ?? []) reach.set(holder as OwnerNumber, count);
    return reach;
  }

  /** Whether workers have left that names still have. */
  get needsSweep(): boolean {
    return this.#left.size + this.#sweeping.size > 0;
  }

  /** Drops from a part of the names who has left: a 256th of them, tens of microseconds. */
  sweep(): void {
    if (this.#sweeping.size === 0) {
      this.#sweeping = this.#left;
      this.#left = new Set();
      this.#swept = 0;
    }
    if (this.#sweeping.size === 0) return;
    this.#tables[this.#swept]?.revise((owners, size) => this.#withoutSwept(owners, size));
    this.#swept += 1;
    if (this.#swept < TABLES) return;
    this.#freeNumbers.push(...this.#sweeping);
    this.#sweeping = new Set();
  }

  #withoutSwept(owners: Owners, size: SizeCode): Owners {
    const count = this.#sets.count(owners);
    const left = this.#sets.withoutAll(owners, this.#sweeping);
    this.#pairs += this.#sets.count(left) - count;
    this.#holdings.moved(owners, left, size);
    return left;
  }

  #put(table: NameTable, owner: OwnerNumber, { before, count, after }: Change, told: SizeCode): void {
    // a set that nobody else has may have given its number to the one that takes its place
    const change = this.#sets.count(after) - count;
    if (change === 0) return;
    this.#pairs += change;
    const size = table.set(this.#words, after, told);
    this.#holdings.moved(before, after, size);
    this.#holdings.count(owner, size, change > 0 ? 1 : -1);
  }

  #ask(name: Uint8Array): Owners {
    return this.#look(name).ask(this.#words);
  }

  #membersOf(owners: Owners): number[] {
    return this.#sets.members(owners).filter((member) => this.#present[member]);
  }

  /** The table that a name belongs to; the name is in `#words` from here on. */
  #look(name: Uint8Array): NameTable {
    for (let word = 0; word < NAME_WORDS; word += 1) this.#words[word] = wordAt(name, 4 * word);
    return this.#tables[name[0] ?? 0]!;
  }
}

function wordAt(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16);
  return (high | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0;
}
