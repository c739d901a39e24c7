// When pretended tokens come: one a step for every request, or one in many steps for requests that ask for very many.

/** Answers that are longer only stay open: their tokens are this many steps apart. */
export const OPEN_TOKENS = 2_000;
const OPEN_STEPS = 500;

export class Steps {
  #jobs = new Map();
  #count = 0;

  /**
   * @param options stepMs between two tokens; `atOnce`: the first token does not wait for a step
   * @param tell is given what a step made: { job, made (tokens before this one), isLast } of each request
   */
  constructor({ stepMs, atOnce }, tell) {
    this.atOnce = atOnce;
    this.tell = tell;
    setInterval(() => this.#step(), stepMs);
  }

  /** `job.tokens` is how many its answer has. */
  add(key, job) {
    this.#jobs.set(key, { job, made: 0 });
    if (this.atOnce) this.tell([this.#advance(key)]);
  }

  drop(key) {
    this.#jobs.delete(key);
  }

  #step() {
    this.#count += 1;
    const isOpenStep = this.#count % OPEN_STEPS === 0;
    const due = [...this.#jobs].filter(
      ([, { job, made }]) => made === 0 || job.tokens < OPEN_TOKENS || isOpenStep,
    );
    if (due.length > 0) this.tell(due.map(([key]) => this.#advance(key)));
  }

  #advance(key) {
    const entry = this.#jobs.get(key);
    const { job } = entry;
    const made = entry.made++;
    const isLast = entry.made === job.tokens;
    if (isLast) this.#jobs.delete(key);
    return { job, made, isLast };
  }
}
