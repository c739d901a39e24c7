import cluster from 'node:cluster';
import type { Logger } from '@kvcapsule/platform/logging';
import { exposeTogether, type Format, type ProcessMetrics } from '@kvcapsule/platform/telemetry';
import type { Settings } from '../settings.js';
import { Gathering } from './gathering.js';
import { KnownCounts } from './known-counts.js';
import type { FromProcess, Ready } from './messages.js';
import { ProcessSlot } from './process-slot.js';

/**
 * The processes of one router behind one port. This one takes connections and deals them out in turns (`node:cluster`),
 * so that each gets as many, whatever their addresses, and none waits at one that ends; each process is a router of its
 * own to workers and to Redis.
 */
export class ProcessGroup {
  readonly #slots: readonly ProcessSlot[];
  readonly #gatherings = new Map<number, Gathering<ProcessSlot>>();
  readonly #counts = new KnownCounts<ProcessSlot>();
  #nextGathering = 0;
  #notReady: number;
  #isStopping = false;
  #exitCode = 0;
  readonly #allReady = Promise.withResolvers<Ready>();
  readonly #allEnded = Promise.withResolvers<number>();

  /**
   * All run by the same settings, also those that are started anew after a file that settings name was edited: two that
   * take different keys behind one port would refuse a client every now and then.
   */
  constructor(settings: Settings, logger: Logger) {
    const { processes } = settings;
    this.#notReady = processes;
    // buffers and infinities reach them as they are
    cluster.setupPrimary({ serialization: 'advanced' });
    this.#slots = Array.from({ length: processes }, () => {
      const slot: ProcessSlot = new ProcessSlot(settings, logger, {
        said: (message) => this.#hear(slot, message),
        ended: (code) => {
          this.#counts.ended(slot);
          this.#ended(code);
        },
      });
      return slot;
    });
  }

  /** Resolves once all of them listen. */
  start(): Promise<Ready> {
    for (const slot of this.#slots) slot.start();
    return this.#allReady.promise;
  }

  /** Resolves with an exit code when all have ended for good: after `stop`, or as one could not start at all. */
  get ended(): Promise<number> {
    return this.#allEnded.promise;
  }

  /** Each ends as a single router does: its answers first. */
  stop(): void {
    this.#isStopping = true;
    for (const slot of this.#slots) slot.stop();
    this.#endIfDone();
  }

  /** All end at once, and it is a failure. */
  kill(): void {
    this.#isStopping = true;
    this.#exitCode = 1;
    for (const slot of this.#slots) slot.kill();
    this.#endIfDone();
  }

  #ended(code: number | undefined): void {
    // What is wrong at the first start is wrong for good, and was told by the process itself.
    const isFirstStart = this.#notReady > 0 && !this.#isStopping;
    if (isFirstStart) {
      this.#exitCode = code ?? 1;
      this.stop();
    } else if (this.#isStopping) this.#endIfDone();
  }

  #endIfDone(): void {
    if (!this.#slots.some(({ isRunning }) => isRunning)) this.#allEnded.resolve(this.#exitCode);
  }

  #hear(slot: ProcessSlot, message: FromProcess): void {
    switch (message.kind) {
      case 'ready':
        this.#notReady -= 1;
        if (this.#notReady === 0) this.#allReady.resolve(message.ready);
        return;
      case 'pulse':
        return;
      case 'scrape':
        this.#gather(message.format, (text) => slot.say({ kind: 'scraped', id: message.id, text }));
        return;
      case 'metrics':
        this.#counts.note(slot, message.metrics);
        this.#gatherings.get(message.id)?.add(slot, message.metrics);
    }
  }

  #gather(format: Format, tell: (text: string) => void): void {
    const id = this.#nextGathering++;
    const gathering = new Gathering<ProcessSlot>(this.#slots.length, (metrics) => {
      this.#gatherings.delete(id);
      void this.#expose(metrics, format).then(tell);
    });
    this.#gatherings.set(id, gathering);
    for (const slot of this.#slots) if (!slot.say({ kind: 'collect', id })) gathering.leave();
  }

  async #expose(answers: ReadonlyMap<ProcessSlot, ProcessMetrics>, format: Format): Promise<string> {
    const others = await this.#counts.without(new Set(answers.keys()));
    return exposeTogether([...answers.values(), others], format);
  }
}
