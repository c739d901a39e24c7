import { setImmediate as nextTurn } from 'node:timers/promises';

/** What the loop asks for. */
export interface LoopWork<Outcome> {
  /** Plans a step, where there may be one, and launches it in this very turn. */
  plan(): void;
  landed(number: number, outcome: Outcome): void;
  failed(number: number, error: unknown): void;
}

interface Flight<Outcome> {
  readonly number: number;
  /** Never rejects. */
  readonly ended: Promise<{ readonly outcome: Outcome } | { readonly error: unknown }>;
}

/**
 * Turns the wheel of planning and landing: plans, waits for the oldest step under way, takes it in. Which steps may
 * run beside which is not decided here.
 */
export class EngineLoop<Outcome> {
  readonly #work: LoopWork<Outcome>;
  readonly #flights: Flight<Outcome>[] = [];
  #stopped = false;
  #woken = false;
  #wake: () => void = () => undefined;

  constructor(work: LoopWork<Outcome>) {
    this.#work = work;
  }

  /** Runs until `stop`; rejects with what the work throws. */
  async run(): Promise<void> {
    while (!this.#stopped || this.#flights.length > 0) {
      const [oldest] = this.#flights;
      if (!this.#stopped) this.#work.plan();
      if (oldest) {
        await this.#land(oldest);
        // requests and aborts that have arrived count in the next plan; an engine that answers at once would keep
        // the event loop from everything else
        await nextTurn();
      } else if (this.#flights.length === 0) {
        await this.#idle();
      }
    }
  }

  /** The engine has got a step. */
  launch(number: number, outcome: Promise<Outcome>): void {
    const ended = outcome.then(
      (result) => ({ outcome: result }),
      (error: unknown) => ({ error }),
    );
    this.#flights.push({ number, ended });
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

  async #land({ number, ended }: Flight<Outcome>): Promise<void> {
    const end = await ended;
    this.#flights.shift();
    if ('outcome' in end) this.#work.landed(number, end.outcome);
    else this.#work.failed(number, end.error);
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
