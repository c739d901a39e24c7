/** Names of content that has gone, the oldest forgotten first. */
export class Ghosts {
  readonly #pages = new Map<string, number>();
  #total = 0;

  add(name: string, pages: number): void {
    this.take(name);
    this.#pages.set(name, pages);
    this.#total += pages;
  }

  /** Whether it was there; it is not afterwards. */
  take(name: string): boolean {
    const pages = this.#pages.get(name);
    if (pages === undefined) return false;
    this.#pages.delete(name);
    this.#total -= pages;
    return true;
  }

  /** Forgets the oldest until what is left took at most so many pages. */
  keep(pages: number): void {
    for (const [name] of this.#pages) {
      if (this.#total <= pages) return;
      this.take(name);
    }
  }
}
