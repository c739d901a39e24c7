import type { ModelInput } from '@kvcapsule/domain/model-input';
import type { PageMove } from '@kvcapsule/domain/scheduling';

import type { NativeEngine } from '../native.js';
import { type DrawnToken, readSamples } from './sampling-arrays.js';
import { buildPlan } from './step-plan.js';

/** A step with the pages that it moves. */
export interface RunnableStep {
  /** Pages to be read and kept by the id, before everything else. */
  readonly reads: readonly PageMove[];
  /** Pages that get the bytes kept for the id, after the reads and before the changes. */
  readonly writes: readonly PageMove[];
  readonly input: ModelInput;
}

export interface StepDraws {
  /** In the order of the input's samples. */
  readonly samples: readonly DrawnToken[];
  readonly compressSeconds: number;
}

/** Has an engine run steps, and keeps the bytes of pages that wait outside the pool. */
export class StepRunner {
  readonly #kept = new Map<string, Promise<Uint8Array>>();

  constructor(private readonly engine: Pick<NativeEngine, 'step' | 'readPages' | 'writePages'>) {}

  /** The plan is made before anything is awaited: what it is made of may go on changing. */
  async run({ reads, writes, input }: RunnableStep): Promise<StepDraws> {
    const plan = buildPlan(input);
    if (reads.length > 0) await this.#read(reads);
    for (const move of writes) await this.#write(move);
    const result = await this.engine.step(plan);
    return { samples: readSamples(plan, result), compressSeconds: result.compressSeconds };
  }

  /** Closes slots one by one; some may not be open: then the engine refuses, and that is right. */
  async closeSlots(slots: readonly number[]): Promise<void> {
    for (const slot of slots) {
      const plan = buildPlan({ changes: [{ kind: 'close', slot }], chunks: [], samples: [] });
      await this.engine.step(plan).catch(() => undefined);
    }
  }

  /** What was kept for this id is not needed. */
  forget(id: string): void {
    this.#kept.delete(id);
  }

  async #read(reads: readonly PageMove[]): Promise<void> {
    await Promise.all(
      reads.map(({ id, pages }) => {
        const bytes = this.engine.readPages(Int32Array.from(pages));
        this.#kept.set(id, bytes);
        return bytes;
      }),
    );
  }

  async #write({ id, pages }: PageMove): Promise<void> {
    const bytes = await this.#kept.get(id);
    // forgotten since it was scheduled: what its pages hold does not matter
    if (bytes) await this.engine.writePages(Int32Array.from(pages), bytes);
    this.#kept.delete(id);
  }
}
