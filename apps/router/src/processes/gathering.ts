import { exposeTogether, type Format, type ProcessMetrics } from '@kvcapsule/platform/telemetry';

/** A process that hangs keeps nobody from the metrics of the others for longer. */
const LONGEST_MS = 2_000;

/** The answers of some processes to one question after their metrics. */
export class Gathering {
  readonly #metrics: ProcessMetrics[] = [];
  readonly #timer: NodeJS.Timeout;
  #missing: number;

  /** @param tell is called once, with the metrics of those that answered in time */
  constructor(
    processes: number,
    private readonly format: Format,
    private readonly tell: (text: string) => void,
  ) {
    this.#missing = processes;
    this.#timer = setTimeout(() => void this.#end(), LONGEST_MS);
  }

  add(metrics: ProcessMetrics): void {
    this.#metrics.push(metrics);
    this.leave();
  }

  /** One of them will not answer. */
  leave(): void {
    this.#missing -= 1;
    if (this.#missing === 0) void this.#end();
  }

  async #end(): Promise<void> {
    clearTimeout(this.#timer);
    this.tell(await exposeTogether(this.#metrics, this.format));
  }
}
