import { randomUUID } from 'node:crypto';

import { type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import {
  HEARTBEAT_INTERVAL_MS,
  type RegistryPort,
  type WorkerDescriptor,
  type WorkerLoad,
} from '@kvcapsule/domain/registry';
import type { Logger } from 'pino';

/** While the registry does not answer it is asked more often: what was lost with it is missing until then. */
const AWAY_INTERVAL_MS = 500;

export interface RegistrationEvents {
  /** A new epoch began: the ledger of this worker is empty. Awaited before the next heartbeat. */
  registered(epoch: number): Promise<void>;
  /** The store answered a heartbeat. */
  beat(): Promise<void>;
  /** A newer process registered under this id; this one has been replaced and must stop. */
  replaced(): void;
}

/**
 * Keeps this worker in the registry. Registers again when the store has forgotten it (it was restarted, or this
 * process was stopped for longer than a heartbeat lives), and when it knows the id under another epoch: that may be
 * this process's own, won by a registration whose answer was lost. Only when the store says that it is another
 * process's, this one has been replaced.
 */
export class Registration {
  readonly #instanceId = randomUUID();
  #epoch = 0;
  #timer: NodeJS.Timeout | undefined;
  #beating: Promise<void> = Promise.resolve();
  #ended = false;
  #away = false;

  constructor(
    private readonly registry: RegistryPort,
    private readonly descriptor: WorkerDescriptor,
    private readonly load: () => WorkerLoad,
    private readonly events: RegistrationEvents,
    private readonly logger: Logger,
    private readonly intervalMs = HEARTBEAT_INTERVAL_MS,
  ) {}

  get epoch(): number {
    return this.#epoch;
  }

  /** Registers and begins to beat. Rejects when the store does not answer the first time. */
  async start(): Promise<void> {
    await this.#register();
    this.#schedule();
  }

  /** Tells the registry at once that the load or the state has changed. */
  async beatNow(): Promise<void> {
    this.#beating = this.#beating.then(() => this.#beat());
    await this.#beating;
  }

  /** Leaves the registry. Never rejects. */
  async stop(): Promise<void> {
    this.#ended = true;
    clearTimeout(this.#timer);
    await this.#beating;
    await this.registry.deregister(this.descriptor.workerId, this.#epoch).catch((error: unknown) => {
      this.logger.warn({ err: error }, 'the registry was not told that this worker leaves');
    });
  }

  #schedule(): void {
    if (this.#ended) return;
    this.#timer = setTimeout(
      () => {
        void this.beatNow().then(() => {
          this.#schedule();
        });
      },
      this.#away ? Math.min(AWAY_INTERVAL_MS, this.intervalMs) : this.intervalMs,
    );
  }

  async #register(): Promise<void> {
    const by = { instanceId: this.#instanceId, heldEpoch: this.#epoch };
    const { epoch } = await this.registry.register(this.descriptor, this.load(), by);
    this.#epoch = epoch;
    this.logger.info({ epoch }, 'registered');
    await this.events.registered(epoch);
  }

  async #beat(): Promise<void> {
    if (this.#ended) return;
    try {
      await this.registry.heartbeat(this.descriptor, this.#epoch, this.load());
      this.#answered();
      await this.events.beat();
    } catch (error) {
      if (codeOf(error) === 'NO_WORKER' || codeOf(error) === 'STALE_EPOCH') await this.#registerAgain();
      else this.#missed(error);
    }
  }

  async #registerAgain(): Promise<void> {
    try {
      await this.#register();
      this.#answered();
    } catch (error) {
      if (codeOf(error) === 'STALE_EPOCH') this.#replaced();
      else this.#missed(error);
    }
  }

  #answered(): void {
    if (this.#away) this.logger.info('the registry answers again');
    this.#away = false;
  }

  #missed(error: unknown): void {
    if (!this.#away) this.logger.warn({ err: error }, 'the registry does not answer');
    this.#away = true;
  }

  #replaced(): void {
    this.#ended = true;
    this.logger.error({ epoch: this.#epoch }, 'a newer process has taken this worker’s place');
    this.events.replaced();
  }
}

function codeOf(error: unknown): ErrorCode {
  return error instanceof KvcError ? error.code : 'INTERNAL';
}
