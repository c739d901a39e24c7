import { KvcError } from '@kvcapsule/contracts/errors';

/** How much of one turn of the event loop new requests may take before the next ones wait for another turn. */
const TURN_MS = 4;
/** A request that comes so much later is in another turn; one in between waits for one to know. */
const QUIET_MS = 50;

interface Waiting {
  readonly arrivedMs: number;
  readonly goOn: () => void;
  readonly fail: (error: KvcError) => void;
  readonly isGone: () => boolean;
}

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
  readonly #waiting = new Map<string, Waiting[]>();

  /** @param waitMs the longest that a request waits for its turn */
  constructor(private readonly waitMs: number) {}

  /**
   * Resolves when it is the request's turn; undefined where that is at once. Rejects with `NO_CAPACITY` after the
   * longest wait, and with `ABORTED` where its client has gone: it takes nobody's turn.
   */
  enter(tenant: string, isGone: () => boolean): Promise<void> | undefined {
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
    return new Promise((goOn, fail) => {
      const waiting = { arrivedMs: performance.now(), goOn, fail, isGone };
      const line = this.#waiting.get(tenant);
      if (line) line.push(waiting);
      else this.#waiting.set(tenant, [waiting]);
    });
  }

  /** One of those that wait in each turn: how long it takes is seen in the next one only. */
  readonly #turn = (): void => {
    this.#beganMs = performance.now();
    for (const [tenant, line] of this.#waiting) this.#dismiss(tenant, line);
    const next = this.#next();
    if (this.#waiting.size > 0) setImmediate(this.#turn);
    next?.goOn();
  };

  /** There is a turn as long as somebody waits, so whose time is up needs no timer; the oldest stand first. */
  #dismiss(tenant: string, line: Waiting[]): void {
    for (let first = line[0]; first; first = line[0]) {
      const isLate = this.#beganMs - first.arrivedMs >= this.waitMs;
      if (!isLate && !first.isGone()) return;
      line.shift();
      first.fail(isLate ? tooLate(this.waitMs) : new KvcError('ABORTED', 'The client went away.'));
    }
    this.#waiting.delete(tenant);
  }

  #next(): Waiting | undefined {
    const [first] = this.#waiting;
    if (!first) return undefined;
    const [tenant, line] = first;
    this.#waiting.delete(tenant);
    const next = line.shift();
    if (line.length > 0) this.#waiting.set(tenant, line);
    return next;
  }
}

function tooLate(waitMs: number): KvcError {
  const message = `The router had no time for this request within ${waitMs / 1_000} s.`;
  return new KvcError('NO_CAPACITY', message, { retryAfterMs: 1_000 });
}
