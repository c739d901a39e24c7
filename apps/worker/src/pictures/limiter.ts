/** Runs at most so many tasks at one time, in the order they came. */
export class Limiter {
  #running = 0;
  readonly #queue: (() => void)[] = [];

  constructor(private readonly limit: number) {}

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#running >= this.limit) await new Promise<void>((resolve) => this.#queue.push(resolve));
    else this.#running += 1;
    try {
      return await task();
    } finally {
      // the place goes straight to the next one
      const next = this.#queue.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }
}
