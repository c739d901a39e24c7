import { setImmediate as nextTurn } from 'node:timers/promises';

import type { ScheduledStep } from '@kvcapsule/domain/scheduling';

/** What the loop drives. */
export interface StepWork<Result> {
  /** @param ahead a step is under way; `undefined`: nothing can be planned now */
  plan(ahead: boolean): ScheduledStep | undefined;
  /** Gives a step to the engine, in this very turn unless it moves pages; resolves when the engine has run it. */
  run(step: ScheduledStep): Promise<Result>;
  /** Takes an outcome in. */
  land(step: ScheduledStep, result: Result): void;
  /** Steps that have all ended, the first of them by a failure; what followed it counts as failed too. */
  recover(steps: readonly ScheduledStep[], error: unknown): Promise<void>;
}

interface Flight<Result> {
  readonly step: ScheduledStep;
  /** Never rejects. */
  readonly outcome: Promise<{ readonly result: Result } | { readonly error: unknown }>;
}

/**
 * Keeps the engine busy: while a step runs, the next one is planned and given to the engine, and what the one before
 * drew is taken in while the next one runs. So at most two steps are under way, and the engine waits for nobody as
 * long as planning and taking in are shorter than a step.
 *
 * A step that moves pages in or out of the pool runs alone: its moves take several calls of the engine.
 */
export class StepLoop<Result> {
  readonly #work: StepWork<Result>;
  #stopped = false;
  #woken = false;
  #wake: () => void = () => undefined;

  constructor(work: StepWork<Result>) {
    this.#work = work;
  }

  /** Runs until `stop`; rejects with what `plan`, `land` or `recover` throw. */
  async run(): Promise<void> {
    let under: Flight<Result> | undefined;
    while (!this.#stopped || under) {
      const waits = this.#stopped || (under !== undefined && movesPages(under.step));
      const step = waits ? undefined : this.#work.plan(under !== undefined);
      const next = step && step.rows + step.changes.length > 0 ? this.#launch(step) : undefined;
      if (under) {
        under = (await this.#land(under, next)) ? next : undefined;
        // requests and aborts that have arrived count in the next plan; an engine that answers at once would keep
        // the event loop from everything else
        await nextTurn();
      } else if (step) {
        under = next;
      } else {
        await this.#idle();
      }
    }
  }

  /** There may be something to do. */
  wake(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Plans nothing more; what is under way ends first. */
  stop(): void {
    this.#stopped = true;
    this.wake();
  }

  #launch(step: ScheduledStep): Flight<Result> {
    const outcome = this.#work.run(step).then(
      (result) => ({ result }),
      (error: unknown) => ({ error }),
    );
    return { step, outcome };
  }

  /** False when the step failed; then nothing is under way any more. */
  async #land(flight: Flight<Result>, next: Flight<Result> | undefined): Promise<boolean> {
    const outcome = await flight.outcome;
    if ('result' in outcome) {
      this.#work.land(flight.step, outcome.result);
      return true;
    }
    await next?.outcome;
    await this.#work.recover(next ? [flight.step, next.step] : [flight.step], outcome.error);
    return false;
  }

  async #idle(): Promise<void> {
    if (!this.#woken) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#woken = false;
  }
}

function movesPages({ reads, writes }: ScheduledStep): boolean {
  return reads.length + writes.length > 0;
}
