import type { ScheduledStep } from '@kvcapsule/domain/scheduling';
import type { NativeEngine } from '@kvcapsule/engine';

/** Bytes of the pages of requests that wait outside the pool. */
export class SwapStore {
  readonly #bytes = new Map<string, Promise<Uint8Array>>();

  constructor(private readonly engine: Pick<NativeEngine, 'readPages' | 'writePages'>) {}

  /** Takes out what a step gives away and puts back what it needs. Await it before the step is submitted. */
  async move({ reads, writes }: Pick<ScheduledStep, 'reads' | 'writes'>): Promise<void> {
    await Promise.all(
      reads.map(({ id, pages }) => {
        const bytes = this.engine.readPages(Int32Array.from(pages));
        this.#bytes.set(id, bytes);
        return bytes;
      }),
    );
    for (const { id, pages } of writes) {
      const bytes = await this.#bytes.get(id);
      // ended since it was scheduled: what its pages hold does not matter
      if (bytes) await this.engine.writePages(Int32Array.from(pages), bytes);
      this.#bytes.delete(id);
    }
  }

  forget(id: string): void {
    this.#bytes.delete(id);
  }
}
