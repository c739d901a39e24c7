/** How much of one turn of the event loop new requests may take before the next ones wait for another turn. */
const TURN_MS = 4;
/** A request that comes so much later is in another turn; one in between waits for one to know. */
const QUIET_MS = 50;

/**
 * Lets requests in as turns of the event loop have time for them. Hundreds may arrive in one turn, each half a
 * millisecond of work or several where it brings a picture: without a gate, tokens of running streams wait for them
 * all.
 */
export class TurnGate {
  /** `performance.now()` when the first request of this turn came in. */
  #beganMs = -Infinity;
  readonly #waiting: (() => void)[] = [];

  /** Resolves when it is the request's turn, in the order of arrival; undefined where that is at once. */
  enter(): Promise<void> | undefined {
    if (this.#waiting.length === 0) {
      const nowMs = performance.now();
      const spentMs = nowMs - this.#beganMs;
      if (spentMs < TURN_MS) return undefined;
      if (spentMs >= QUIET_MS) {
        this.#beganMs = nowMs;
        return undefined;
      }
      // only here, since to ask for a turn costs as much as to write to a socket
      setImmediate(this.#turn);
    }
    return new Promise((goOn) => {
      this.#waiting.push(goOn);
    });
  }

  /** One of those that wait in each turn: how long it takes is seen in the next one only. */
  readonly #turn = (): void => {
    this.#beganMs = performance.now();
    const goOn = this.#waiting.shift();
    if (this.#waiting.length > 0) setImmediate(this.#turn);
    goOn?.();
  };
}
