/** How much of one turn of the event loop new requests may take before the next ones wait for another turn. */
const TURN_MS = 4;

/**
 * Lets requests in as turns of the event loop have time for them. Hundreds may arrive in one turn, each half a
 * millisecond of work or several where it brings a picture: without a gate, tokens of running streams wait for them
 * all.
 */
export class TurnGate {
  /** `performance.now()` when the first request of this turn came in. */
  #beganMs: number | undefined;
  readonly #waiting: (() => void)[] = [];

  /** Resolves when it is the request's turn, in the order of arrival; undefined where that is at once. */
  enter(): Promise<void> | undefined {
    const nowMs = performance.now();
    if (this.#beganMs === undefined) this.#begin(nowMs);
    else if (this.#waiting.length > 0 || nowMs - this.#beganMs >= TURN_MS)
      return new Promise((goOn) => {
        this.#waiting.push(goOn);
      });
    return undefined;
  }

  #begin(nowMs: number): void {
    this.#beganMs = nowMs;
    setImmediate(this.#turn);
  }

  /** One of those that wait in each turn: how long it takes is seen in the next one only. */
  readonly #turn = (): void => {
    this.#beganMs = undefined;
    const goOn = this.#waiting.shift();
    if (!goOn) return;
    this.#begin(performance.now());
    goOn();
  };
}
