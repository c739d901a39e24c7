import { countsOf, type ProcessMetrics } from '@kvcapsule/platform/telemetry';

/**
 * What processes have counted that do not say it themselves: those that have ended, and those that answer late. Without
 * it a sum would fall, which Prometheus takes for a start from zero, and counts all of it once more.
 */
export class KnownCounts<Process extends object> {
  #ended: Promise<ProcessMetrics> = Promise.resolve([]);
  readonly #last = new Map<Process, ProcessMetrics>();

  note(process: Process, metrics: ProcessMetrics): void {
    this.#last.set(process, metrics);
  }

  /** What a process counted in the run that has ended stays. */
  ended(process: Process): void {
    const last = this.#last.get(process);
    if (!last) return;
    this.#last.delete(process);
    this.#ended = this.#ended.then((ended) => countsOf([ended, last]));
  }

  /** Of all but the runs of these processes. */
  async without(processes: ReadonlySet<Process>): Promise<ProcessMetrics> {
    const late = [...this.#last].flatMap(([process, last]) => (processes.has(process) ? [] : [last]));
    return countsOf([await this.#ended, ...late]);
  }
}
