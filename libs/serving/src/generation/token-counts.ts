const FIRST_CAPACITY = 64;

/**
 * The tokens that a request's penalties look at, in the arrays that the engine takes: each token once, with how
 * often the answer has it. A function of prompt and answer alone, so a preemption changes nothing.
 */
export class TokenCounts {
  #tokens = new Int32Array(FIRST_CAPACITY);
  #counts = new Int32Array(FIRST_CAPACITY);
  #size = 0;
  readonly #places = new Map<number, number>();

  /** @param prompt its tokens where they count (for a repetition penalty), else none */
  constructor(prompt: readonly number[]) {
    for (const token of prompt) this.#place(token);
  }

  get tokens(): Int32Array {
    return this.#tokens.subarray(0, this.#size);
  }

  /** Same order as `tokens`; 0: in the prompt alone. */
  get counts(): Int32Array {
    return this.#counts.subarray(0, this.#size);
  }

  /** A token of the answer. */
  add(token: number): void {
    const place = this.#place(token);
    this.#counts[place] = (this.#counts[place] ?? 0) + 1;
  }

  #place(token: number): number {
    const known = this.#places.get(token);
    if (known !== undefined) return known;
    if (this.#size === this.#tokens.length) this.#grow();
    this.#tokens[this.#size] = token;
    this.#places.set(token, this.#size);
    return this.#size++;
  }

  #grow(): void {
    const [tokens, counts] = [this.#tokens, this.#counts];
    this.#tokens = new Int32Array(2 * tokens.length);
    this.#counts = new Int32Array(2 * counts.length);
    this.#tokens.set(tokens);
    this.#counts.set(counts);
  }
}
