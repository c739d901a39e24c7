/** Smallest first, by a comparison that leaves no ties. An item is in it once at most. */
export class Heap<T> {
  readonly #items: T[] = [];
  readonly #places = new Map<T, number>();

  constructor(private readonly before: (a: T, b: T) => boolean) {}

  push(item: T): void {
    if (this.#places.has(item)) return;
    this.#put(this.#items.length, item);
    this.#rise(this.#items.length - 1);
  }

  get first(): T | undefined {
    return this.#items[0];
  }

  /** Its order must be what it was when it was pushed. */
  delete(item: T): void {
    const at = this.#places.get(item);
    if (at === undefined) return;
    this.#places.delete(item);
    const last = this.#items.pop();
    if (last === undefined || last === item) return;
    this.#put(at, last);
    this.#sink(this.#rise(at));
  }

  #rise(from: number): number {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#ordered(at, parent)) break;
      this.#swap(at, parent);
      at = parent;
    }
    return at;
  }

  #sink(from: number): void {
    for (let at = from; ;) {
      const left = 2 * at + 1;
      const least = this.#ordered(left + 1, left) ? left + 1 : left;
      if (!this.#ordered(least, at)) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #ordered(a: number, b: number): boolean {
    const first = this.#items[a];
    const second = this.#items[b];
    return first !== undefined && second !== undefined && this.before(first, second);
  }

  #put(at: number, item: T): void {
    this.#items[at] = item;
    this.#places.set(item, at);
  }

  #swap(a: number, b: number): void {
    const item = this.#items[a] as T;
    this.#put(a, this.#items[b] as T);
    this.#put(b, item);
  }
}
