/** `half-open`: it has been left alone for long enough, and one request shows whether it does better. */
export type BreakerState = 'closed' | 'open' | 'half-open';

/** The newest outcomes that are looked at, and how many failures among them open the breaker. */
const WINDOW = 10;
const MOST_FAILURES = 5;
const FIRST_OPEN_MS = 1_000;
const LONGEST_OPEN_MS = 60_000;

/** One request at a worker, for which its breaker stands. What is told after its breaker has opened or closed is void. */
export interface Trial {
  /** Of the breaker when the request was let through: open where breakers are ignored. */
  readonly state: BreakerState;
  /** The worker has come forward with the request; the first time alone counts. */
  succeeded(): void;
  /**
   * The worker has failed it, through no fault of the request.
   * @param atMs failures of one moment are one: a step that fails takes all requests of its batch along
   * @param random in [0, 1): no two routers look again at the same time
   */
  failed(atMs: number, random: number): void;
  /** It is over, however it went. */
  left(): void;
}

/**
 * Whether a worker is sent requests, by how the newest of them have gone there. It opens as soon as five of the newest
 * ten outcomes are failures, for a time that doubles from one second to one minute with each probe that fails.
 */
export class CircuitBreaker {
  /** Newest last; true for a failure. Empty unless closed. */
  #outcomes: boolean[] = [];
  #untilMs: number | undefined;
  #probe: Trial | undefined;
  /** Openings and closings so far: a trial of another age says nothing. */
  #age = 0;
  /** Openings since the breaker was last closed for long enough. */
  #level = 0;
  #failedMs = -Infinity;

  /** @param turned is called when it has opened or closed */
  constructor(private readonly turned: (isOpen: boolean) => void = () => undefined) {}

  get isClosed(): boolean {
    return this.#untilMs === undefined;
  }

  state(nowMs: number): BreakerState {
    if (this.#untilMs === undefined) return 'closed';
    return nowMs < this.#untilMs ? 'open' : 'half-open';
  }

  /** Whether requests are kept away, since it is open or somebody else's shows at this moment how the worker does. */
  leavesAlone(nowMs: number): boolean {
    return this.#untilMs !== undefined && (nowMs < this.#untilMs || this.#probe !== undefined);
  }

  /**
   * A request is to be sent.
   * @param isForced breakers are ignored
   * @returns undefined where the worker is left alone
   */
  begin(nowMs: number, isForced = false): Trial | undefined {
    const isLeft = this.leavesAlone(nowMs);
    if (isLeft && !isForced) return undefined;
    const trial = this.#trial(this.state(nowMs));
    if (!isLeft && trial.state === 'half-open') this.#probe = trial;
    return trial;
  }

  #trial(state: BreakerState): Trial {
    const age = this.#age;
    let hasSucceeded = false;
    const trial: Trial = {
      state,
      succeeded: () => {
        if (hasSucceeded || age !== this.#age) return;
        hasSucceeded = true;
        if (state === 'closed') this.#note(false);
        else this.#close();
      },
      failed: (atMs, random) => {
        if (age !== this.#age) return;
        if (state === 'closed') this.#fail(atMs, random);
        else if (this.#probe === trial) this.#open(atMs, random);
      },
      left: () => {
        if (this.#probe === trial) this.#probe = undefined;
      },
    };
    return trial;
  }

  #fail(atMs: number, random: number): void {
    if (atMs === this.#failedMs) return;
    this.#failedMs = atMs;
    this.#note(true);
    if (this.#outcomes.filter(Boolean).length >= MOST_FAILURES) this.#open(atMs, random);
  }

  #note(isFailure: boolean): void {
    this.#outcomes.push(isFailure);
    if (this.#outcomes.length <= WINDOW) return;
    this.#outcomes.shift();
    this.#level = 0;
  }

  #open(atMs: number, random: number): void {
    const longestMs = Math.min(LONGEST_OPEN_MS, FIRST_OPEN_MS * 2 ** this.#level);
    this.#untilMs = atMs + longestMs * (0.5 + random / 2);
    this.#level += 1;
    this.#turn(true);
  }

  #close(): void {
    this.#untilMs = undefined;
    this.#turn(false);
  }

  #turn(isOpen: boolean): void {
    this.#age += 1;
    this.#outcomes = [];
    this.#probe = undefined;
    this.turned(isOpen);
  }
}
