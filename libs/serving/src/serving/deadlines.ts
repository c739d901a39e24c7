/** Times at which something is due. The surroundings are asked to come back at the first of them. */
export class Deadlines {
  readonly #atMs = new Map<string, number>();
  #wakeMs = Infinity;

  constructor(private readonly wakeAt: (atMs: number) => void) {}

  set(id: string, atMs: number): void {
    this.#atMs.set(id, atMs);
    this.#ask(atMs);
  }

  clear(id: string): void {
    this.#atMs.delete(id);
  }

  /** Takes out what is due, in the order of its time. */
  due(nowMs: number): readonly string[] {
    const due = [...this.#atMs].filter(([, atMs]) => atMs <= nowMs).sort(([, a], [, b]) => a - b);
    for (const [id] of due) this.#atMs.delete(id);
    this.#wakeMs = Infinity;
    const next = Math.min(...this.#atMs.values());
    if (next < Infinity) this.#ask(next);
    return due.map(([id]) => id);
  }

  #ask(atMs: number): void {
    if (atMs >= this.#wakeMs) return;
    this.#wakeMs = atMs;
    this.wakeAt(atMs);
  }
}
