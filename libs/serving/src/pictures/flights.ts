/** Work under way, by the name of its result: others that need the same result wait for it, then look it up again. */
export class Flights {
  readonly #waiting = new Map<string, (() => void)[]>();

  /** Waits for the flight of that name; false where there is none. */
  join(name: string, again: () => void): boolean {
    const waiting = this.#waiting.get(name);
    waiting?.push(again);
    return waiting !== undefined;
  }

  /** @returns to be called when the work has ended, after its outcome can be found */
  start(name: string): () => void {
    const waiting: (() => void)[] = [];
    this.#waiting.set(name, waiting);
    return () => {
      this.#waiting.delete(name);
      for (const again of waiting) again();
    };
  }
}

/** Runs at most `limit` tasks at one time, first come, first served; callbacks, since the core awaits nothing. */
export class Slots {
  #taken = 0;
  readonly #queue: (() => void)[] = [];

  constructor(private readonly limit: number) {}

  enter(task: () => void): void {
    if (this.#taken >= this.limit) {
      this.#queue.push(task);
      return;
    }
    this.#taken += 1;
    task();
  }

  /** The place goes straight to the next one. */
  leave(): void {
    const next = this.#queue.shift();
    if (next) next();
    else this.#taken -= 1;
  }
}
