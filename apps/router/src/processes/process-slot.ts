import cluster, { type Worker } from 'node:cluster';
import { Backoff } from '@kvcapsule/platform/processes';
import type { Logger } from '@kvcapsule/platform/logging';
import type { Settings } from '../settings.js';
import type { FromProcess, ToProcess } from './messages.js';

const PULSE_MS = 1_000;
/**
 * One that leaves so many questions in a row unanswered hangs: probes of the port, which the others answer, would never
 * show it. Time in which the process that asks stood still, too, does not count.
 */
const MOST_UNANSWERED = 30;

export interface SlotEvents {
  said(message: FromProcess): void;
  /** A run ended: with its exit code, or undefined where a signal ended it. */
  ended(code: number | undefined): void;
}

/**
 * One of a router's processes: started again, later each time, whenever it ends before it is told to. One that hangs is
 * ended, also while it is to end by itself.
 */
export class ProcessSlot {
  #worker: Worker | undefined;
  #timer: NodeJS.Timeout | undefined;
  #unanswered = 0;
  #stopping = false;
  readonly #backoff = new Backoff();

  constructor(
    private readonly settings: Settings,
    private readonly logger: Logger,
    private readonly events: SlotEvents,
  ) {}

  get isRunning(): boolean {
    return this.#worker !== undefined;
  }

  start(): void {
    const beganMs = performance.now();
    const worker = cluster.fork();
    this.#worker = worker;
    worker.send({ kind: 'settings', settings: this.settings } satisfies ToProcess);
    let pulse: NodeJS.Timeout | undefined;
    worker.on('message', (message: FromProcess) => {
      // its last words may come after its end
      if (this.#worker !== worker) return;
      if (message.kind === 'ready') pulse = this.#watch(worker);
      this.#unanswered = 0;
      this.events.said(message);
    });
    worker.once('exit', (code: number | null, signal: string | null) => {
      clearInterval(pulse);
      this.#worker = undefined;
      this.events.ended(signal === null ? (code ?? 1) : undefined);
      if (!this.#stopping) this.#again(performance.now() - beganMs, signal ?? `exit code ${code ?? 1}`);
    });
  }

  /** False where there is nobody to say it to. */
  say(message: ToProcess): boolean {
    return this.#worker?.isConnected() === true && this.#worker.send(message);
  }

  /** Tells it to end by itself; it is not started again. */
  stop(): void {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.#worker?.process.kill('SIGTERM');
  }

  /** Ends it at once. */
  kill(): void {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.#worker?.process.kill('SIGKILL');
  }

  #watch({ process }: Worker): NodeJS.Timeout {
    return setInterval(() => {
      if (this.#unanswered < MOST_UNANSWERED) {
        this.#unanswered += 1;
        this.say({ kind: 'pulse' });
        return;
      }
      this.logger.error({ processId: process.pid }, 'a process of the router hangs and is ended');
      process.kill('SIGKILL');
    }, PULSE_MS);
  }

  #again(ranMs: number, reason: string): void {
    const delayMs = this.#backoff.nextDelayMs(ranMs);
    this.logger.warn({ reason, delayMs }, 'a process of the router ended and is started again');
    this.#timer = setTimeout(() => this.start(), delayMs);
  }
}
