/**
 * Who holds something, as one number: 0 nobody, a worker's number plus one, or a set of several from `FIRST_SET` on.
 */
export type Owners = number & { readonly __brand: 'Owners' };

/** Workers' numbers are less than this, so that a set is a string of them. */
export const MOST_WORKERS = 0xffff;
const FIRST_SET = MOST_WORKERS + 1;

export const NOBODY = 0 as Owners;

/** The number of the only one; undefined where there are none or several. */
export function soleOwner(owners: Owners): number | undefined {
  return owners !== NOBODY && owners < FIRST_SET ? owners - 1 : undefined;
}

/** A set's entry in the map of all, its place in two lists, and its string beside the members: as V8 has them. */
const SET_BYTES = 80;

interface SetRecord {
  /** The members, ascending, a character each. */
  readonly members: string;
  uses: number;
}

/**
 * Sets of workers, each kept once however many names have it: the blocks of one conversation have the same owners. A
 * set lives while a name has it.
 */
export class OwnerSets {
  readonly #sets: (SetRecord | undefined)[] = [];
  readonly #ids = new Map<string, number>();
  readonly #free: number[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** Of the name that had these owners, with that worker too. */
  with(owners: Owners, worker: number): Owners {
    const before = this.#membersOf(owners);
    const at = placeOf(before, worker);
    if (before.charCodeAt(at) === worker) return owners;
    const after = before.slice(0, at) + String.fromCharCode(worker) + before.slice(at);
    this.release(owners);
    return this.#take(after);
  }

  /** Of the name that had these owners, without that worker. */
  without(owners: Owners, worker: number): Owners {
    const before = this.#membersOf(owners);
    const at = placeOf(before, worker);
    if (before.charCodeAt(at) !== worker) return owners;
    this.release(owners);
    return this.#take(before.slice(0, at) + before.slice(at + 1));
  }

  /** Of the name that had these owners, without any of those workers. */
  withoutAll(owners: Owners, workers: ReadonlySet<number>): Owners {
    if (owners < FIRST_SET) return workers.has(owners - 1) ? NOBODY : owners;
    const before = this.members(owners);
    const left = before.filter((member) => !workers.has(member));
    if (left.length === before.length) return owners;
    this.release(owners);
    return this.#take(String.fromCharCode(...left));
  }

  /** A name that had these owners is known no more. */
  release(owners: Owners): void {
    const set = this.#sets[owners - FIRST_SET];
    if (!set) return;
    set.uses -= 1;
    if (set.uses > 0) return;
    this.#sets[owners - FIRST_SET] = undefined;
    this.#free.push(owners - FIRST_SET);
    this.#ids.delete(set.members);
    this.#bytes -= SET_BYTES + 2 * set.members.length;
  }

  count(owners: Owners): number {
    if (owners < FIRST_SET) return owners === NOBODY ? 0 : 1;
    return this.#sets[owners - FIRST_SET]?.members.length ?? 0;
  }

  /** Calls with each one's number. */
  each(owners: Owners, call: (number: number) => void): void {
    const members = this.#membersOf(owners);
    for (let at = 0; at < members.length; at += 1) call(members.charCodeAt(at));
  }

  /** Their numbers, ascending. */
  members(owners: Owners): number[] {
    const members = this.#membersOf(owners);
    return Array.from({ length: members.length }, (_, at) => members.charCodeAt(at));
  }

  /** Of these numbers, ascending, those that are among the owners; `gone` is called with the others. */
  keep(numbers: readonly number[], owners: Owners, gone: (number: number) => void): number[] {
    const members = this.#membersOf(owners);
    let at = 0;
    return numbers.filter((number) => {
      while (members.charCodeAt(at) < number) at += 1;
      const stays = members.charCodeAt(at) === number;
      if (!stays) gone(number);
      return stays;
    });
  }

  #membersOf(owners: Owners): string {
    if (owners === NOBODY) return '';
    if (owners < FIRST_SET) return String.fromCharCode(owners - 1);
    return this.#sets[owners - FIRST_SET]?.members ?? '';
  }

  #take(members: string): Owners {
    if (members.length === 0) return NOBODY;
    if (members.length === 1) return (members.charCodeAt(0) + 1) as Owners;
    const known = this.#ids.get(members);
    const set = known === undefined ? undefined : this.#sets[known];
    if (known !== undefined && set) {
      set.uses += 1;
      return (known + FIRST_SET) as Owners;
    }
    const id = this.#free.pop() ?? this.#sets.length;
    this.#sets[id] = { members, uses: 1 };
    this.#ids.set(members, id);
    this.#bytes += SET_BYTES + 2 * members.length;
    return (id + FIRST_SET) as Owners;
  }
}

/** Where a worker stands among these, or would. */
function placeOf(members: string, worker: number): number {
  let [low, high] = [0, members.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (members.charCodeAt(middle) < worker) low = middle + 1;
    else high = middle;
  }
  return low;
}
