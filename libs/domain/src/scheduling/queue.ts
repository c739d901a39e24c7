import type { Sequence } from './sequence/sequence.js';

/** Sequences by priority and, within one, by arrival. */
export class SequenceQueue {
  readonly #items: Sequence[] = [];

  get items(): readonly Sequence[] {
    return this.#items;
  }

  get size(): number {
    return this.#items.length;
  }

  get last(): Sequence | undefined {
    return this.#items.at(-1);
  }

  insert(sequence: Sequence): void {
    const index = this.#items.findIndex(
      ({ priority, arrival }) =>
        priority > sequence.priority || (priority === sequence.priority && arrival > sequence.arrival),
    );
    this.#items.splice(index < 0 ? this.#items.length : index, 0, sequence);
  }

  remove(sequence: Sequence): void {
    const index = this.#items.indexOf(sequence);
    if (index >= 0) this.#items.splice(index, 1);
  }
}
