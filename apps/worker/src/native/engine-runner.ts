import { KvcError } from '@kvcapsule/contracts/errors';
import type { NativeEngine } from '@kvcapsule/engine';
import { buildPlan, readSamples } from '@kvcapsule/engine/plan';
import type { EngineStep, StepOutcome } from '@kvcapsule/serving';
import type { Logger } from 'pino';

import { SwapStore } from './swap-store.js';

/** Has the engine carry out what the core decides. */
export class EngineRunner {
  readonly #swapped: SwapStore;

  constructor(
    private readonly engine: NativeEngine,
    private readonly logger: Logger,
  ) {
    this.#swapped = new SwapStore(engine);
  }

  /** The plan is made before anything is awaited: what it is made of goes on changing. */
  async run(step: EngineStep): Promise<StepOutcome> {
    const plan = buildPlan(step.input);
    if (step.reads.length + step.writes.length > 0) await this.#swapped.move(step);
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

  forgetPages(id: string): void {
    this.#swapped.forget(id);
  }

  releaseFeatures(handle: number): void {
    this.engine.releaseImage(handle).catch((error: unknown) => {
      // a disposed engine has let go of everything
      if (error instanceof KvcError && error.code === 'DRAINING') return;
      this.logger.warn({ err: error }, 'picture features were not released');
    });
  }
}
