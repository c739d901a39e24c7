/** Workers that may break in a row at one request which does not come forward; then it is taken for the cause. */
const MOST_BROKEN = 3;
const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 1_000;

/** How an attempt ended that did not end the answer. */
export type AttemptFailure =
  /** The worker said that it does not take it, or not any longer: it drains, or has been replaced. */
  | 'refused'
  /** The worker or its engine broke under it. */
  | 'broken';

/**
 * How one request's attempts have gone. An answer may meet any number of failing workers while it comes forward: one
 * that breaks each worker at the same token does not.
 */
export class Attempts {
  /** Who broke; undefined for one that lives on with an engine that failed. */
  #broken: (string | undefined)[] = [];
  #fruitless = 0;

  /**
   * An attempt has ended.
   *
   * @param progressed it brought tokens of the answer
   * @param lost the process that was lost, if not its engine alone failed
   */
  failed(how: AttemptFailure, progressed: boolean, lost?: string): void {
    if (progressed) {
      this.#broken = [];
      this.#fruitless = 0;
    }
    this.#fruitless += 1;
    if (how === 'broken') this.#broken.push(lost);
  }

  /** Of the processes that were lost those that answer again have not broken: the connection to them has. */
  survived(answers: (process: string) => boolean): void {
    this.#broken = this.#broken.filter((lost) => lost === undefined || !answers(lost));
  }

  /** Workers that broke in a row without a token from any but the first of them. */
  get broken(): number {
    return this.#broken.length;
  }

  /** No further worker is put at risk. */
  get exhausted(): boolean {
    return this.broken >= MOST_BROKEN;
  }

  /**
   * How long to wait before the next attempt: not at all after the first that brought nothing, which most likely had
   * nothing to do with the request.
   * @param random in [0, 1): no two requests of a broken worker come at the same time
   */
  backoffMs(random: number): number {
    if (this.#fruitless < 2) return 0;
    return Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (this.#fruitless - 2)) * (0.5 + random / 2);
  }
}
