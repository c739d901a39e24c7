/** How much of one turn of the event loop new requests may take before the next ones wait for another turn. */
const TURN_MS = 4;
/** A request that comes so much later is in another turn; one in between waits for one to know. */
const QUIET_MS = 50;

/**
 * Lets requests in as turns of the event loop have time for them. Hundreds may arrive in one turn, each half a
 * millisecond of work or several where it brings a picture: without a gate, tokens of running streams wait for them
 * all. Tenants take turns: where the router itself is what there is too little of, hundreds of one tenant's requests
 * keep another's waiting for one of them.
 */
export class TurnGate {
  /** `performance.now()` when the first request of this turn came in. */
  #beganMs = -Infinity;
  /** By tenant, in the order of arrival; the tenant that was let in longest ago first. */
  readonly #waiting = new Map<string, (() => void)[]>();

  /** Resolves when it is the request's turn; undefined where that is at once. */
  enter(tenant: string): Promise<void> | undefined {
    if (this.#waiting.size === 0) {
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
      const line = this.#waiting.get(tenant);
      if (line) line.push(goOn);
      else this.#waiting.set(tenant, [goOn]);
    });
  }

  /** One of those that wait in each turn: how long it takes is seen in the next one only. */
  readonly #turn = (): void => {
    this.#beganMs = performance.now();
    const goOn = this.#next();
    if (this.#waiting.size > 0) setImmediate(this.#turn);
    goOn?.();
  };

  #next(): (() => void) | undefined {
    const [first] = this.#waiting;
    if (!first) return undefined;
    const [tenant, line] = first;
    this.#waiting.delete(tenant);
    const goOn = line.shift();
    if (line.length > 0) this.#waiting.set(tenant, line);
    return goOn;
  }
}
