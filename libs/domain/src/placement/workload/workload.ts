/** How much of a new measurement goes into the mean: the last ten or so count. */
const SMOOTHING = 0.2;
/** A worker that nobody has measured for so long may have become another: it is as good as any until it is. */
const FORGOTTEN_MS = 60_000;

/** One request that was sent to a worker; each method has an effect once. */
export interface Work {
  /** Its first token has come, at that time. */
  answered(nowMs: number): void;
  /** It has ended, at that or another worker. */
  ended(): void;
}

/** Of a worker that has gone. */
export const NO_WORK: Work = { answered: () => undefined, ended: () => undefined };

/** What one router has one worker compute before first tokens, and how fast that went lately. */
export class Workload {
  #requests = 0;
  #tokens = 0;
  #msPerToken: number | undefined;
  #measuredMs = 0;

  /** Requests whose first token has not come. */
  get pendingRequests(): number {
    return this.#requests;
  }

  /** What they have it compute, in tokens of prefill. */
  get pendingTokens(): number {
    return this.#tokens;
  }

  /** Time to the first token over what had to be computed until then, of late; undefined where that is unknown. */
  get msPerToken(): number | undefined {
    return this.#msPerToken;
  }

  /** Called every second or so: a measurement that is too old is none. */
  tick(nowMs: number): void {
    if (nowMs - this.#measuredMs > FORGOTTEN_MS) this.#msPerToken = undefined;
  }

  /**
   * @param tokens of prefill that it is to compute for this request alone
   * @param beforeFirst of prefill until this request's first token, what is ahead of it included
   */
  send(tokens: number, beforeFirst: number, nowMs: number): Work {
    this.#requests += 1;
    this.#tokens += tokens;
    let pending = true;
    const ended = (): void => {
      if (!pending) return;
      pending = false;
      this.#requests -= 1;
      this.#tokens -= tokens;
    };
    const answered = (atMs: number): void => {
      if (!pending) return;
      ended();
      this.#measure((atMs - nowMs) / Math.max(1, beforeFirst), atMs);
    };
    return { answered, ended };
  }

  #measure(msPerToken: number, nowMs: number): void {
    const before = this.#msPerToken ?? msPerToken;
    this.#msPerToken = before + SMOOTHING * (msPerToken - before);
    this.#measuredMs = nowMs;
  }
}
