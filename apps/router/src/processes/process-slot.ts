import cluster, { type Worker } from 'node:cluster';
import { Backoff } from '@kvcapsule/platform/processes';
import type { Logger } from '@kvcapsule/platform/logging';
import type { FromProcess, ToProcess } from './messages.js';

export interface SlotEvents {
  said(message: FromProcess): void;
  /** A run ended: with its exit code, or undefined where a signal ended it. */
  ended(code: number | undefined): void;
}

/** One of a router's processes: started again, later each time, whenever it ends before it is told to. */
export class ProcessSlot {
  #worker: Worker | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopping = false;
  readonly #backoff = new Backoff();

  constructor(
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
    worker.on('message', (message: FromProcess) => this.events.said(message));
    worker.once('exit', (code: number | null, signal: string | null) => {
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

  #again(ranMs: number, reason: string): void {
    const delayMs = this.#backoff.nextDelayMs(ranMs);
    this.logger.warn({ reason, delayMs }, 'a process of the router ended and is started again');
    this.#timer = setTimeout(() => this.start(), delayMs);
  }
}
