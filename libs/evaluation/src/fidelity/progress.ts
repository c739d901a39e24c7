/** `12/40 (30 %), 1 min 20 s, 3 min 7 s to go`; nothing to go by before the first is done. */
export class Progress {
  #done = 0;
  readonly #startMs: number;

  constructor(
    private readonly total: number,
    private readonly nowMs: () => number = () => performance.now(),
  ) {
    this.#startMs = nowMs();
  }

  /** One more of the total is done. */
  advance(): string {
    this.#done++;
    const passedMs = this.nowMs() - this.#startMs;
    const leftMs = (passedMs / this.#done) * (this.total - this.#done);
    const percent = Math.round((100 * this.#done) / this.total);
    return `${this.#done}/${this.total} (${percent} %), ${duration(passedMs)}, ${duration(leftMs)} to go`;
  }
}

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes} min ${seconds % 60} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
