import type { ProcessMetrics } from '@kvcapsule/platform/telemetry';

/** A process that hangs keeps nobody from the metrics of the others for longer. */
const LONGEST_MS = 2_000;

/** The answers of some processes to one question after their metrics. */
export class Gathering<Process> {
  readonly #metrics = new Map<Process, ProcessMetrics>();
  readonly #timer: NodeJS.Timeout;
  #missing: number;

  /** @param end is called once, with the metrics of those that answered in time */
  constructor(
    processes: number,
    private readonly end: (metrics: ReadonlyMap<Process, ProcessMetrics>) => void,
  ) {
    this.#missing = processes;
    this.#timer = setTimeout(() => {
      this.#end();
    }, LONGEST_MS);
  }

  add(process: Process, metrics: ProcessMetrics): void {
    this.#metrics.set(process, metrics);
    this.leave();
  }

  /** One of them will not answer. */
  leave(): void {
    this.#missing -= 1;
    if (this.#missing === 0) this.#end();
  }

  #end(): void {
    clearTimeout(this.#timer);
    this.end(this.#metrics);
  }
}
