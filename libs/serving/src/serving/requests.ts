import { asKvcError, type KvcError } from '@kvcapsule/contracts/errors';
import type { Scheduler } from '@kvcapsule/domain/scheduling';

import type { Generation } from '../generation/generation.js';
import { NO_TEXT } from '../generation/text-stream.js';
import { usageOf } from '../generation/usage.js';
import type { Leases } from '../leases/leases.js';
import type { PictureFeatures } from '../pictures/picture-features.js';
import type { FinishReason, Outbox, RequestEvent } from './effects.js';
import type { EngineGeometry } from './geometry.js';

/** What a request holds beside itself, and gives back when it ends. */
export interface RequestHoldings {
  readonly scheduler: Scheduler;
  readonly pictures: PictureFeatures;
  readonly leases: Leases;
  readonly outbox: Outbox;
  readonly geometry: EngineGeometry;
  /** Called for each one that is here no more. */
  readonly ended: (id: string) => void;
}

/** The requests that are here; every one ends in `finish` or `fail`, whatever ends it. */
export class Requests {
  readonly #byId = new Map<string, Generation>();
  readonly #byKey = new Map<string, Generation>();

  constructor(private readonly holdings: RequestHoldings) {}

  get size(): number {
    return this.#byId.size;
  }

  all(): readonly Generation[] {
    return [...this.#byId.values()];
  }

  add(generation: Generation): void {
    this.#byId.set(generation.id, generation);
    this.#byKey.set(generation.key, generation);
  }

  /** Undefined for one that has ended. */
  find(id: string): Generation | undefined {
    return this.#byId.get(id);
  }

  named(key: string): Generation | undefined {
    return this.#byKey.get(key);
  }

  tell({ key }: Generation, event: RequestEvent): void {
    this.holdings.outbox.push({ kind: 'event', key, event });
  }

  /** @param flush whether text that was held back belongs to the answer */
  finish(generation: Generation, reason: FinishReason, flush = true): void {
    this.#finish(generation, reason, flush);
  }

  /** The pool has no room for a token more. */
  cutShort(generation: Generation): void {
    this.#finish(generation, 'length', true, { poolExhausted: true });
  }

  #finish(
    generation: Generation,
    reason: FinishReason,
    flush: boolean,
    more?: { poolExhausted: true },
  ): void {
    if (generation.ended) return;
    const { text, stopped } = flush ? generation.text.end() : NO_TEXT;
    const ending = stopped && reason === 'length' ? 'stop' : reason;
    const usage = usageOf(
      generation,
      this.holdings.scheduler.describe(generation.id),
      this.holdings.geometry,
    );
    this.#dismiss(generation);
    const { key, ids } = generation;
    this.holdings.outbox.report({ kind: 'requestFinished', key, ids, reason: ending, usage });
    const detail = ending === 'length' ? more : undefined;
    this.tell(generation, { kind: 'finished', reason: ending, text, usage, ...detail });
  }

  fail(generation: Generation, error: unknown): void {
    if (generation.ended) return;
    this.#dismiss(generation);
    const { code, message, param } = asRequestError(error);
    const { key, ids } = generation;
    this.holdings.outbox.report({ kind: 'requestFailed', key, ids, code });
    this.tell(generation, { kind: 'failed', code, message, param });
  }

  failAll(error: KvcError): void {
    for (const generation of this.all()) this.fail(generation, error);
  }

  /** Pages, features and lease of a request that has ended. */
  #dismiss(generation: Generation): void {
    const { id, key } = generation;
    const { scheduler, pictures, leases, outbox, ended } = this.holdings;
    generation.ended = true;
    this.#byId.delete(id);
    this.#byKey.delete(key);
    scheduler.finish(id);
    outbox.push({ kind: 'forgetPages', id });
    pictures.leave(generation);
    leases.release(id);
    outbox.push({ kind: 'wake' });
    ended(id);
  }
}

export function asRequestError(error: unknown): KvcError {
  return asKvcError(error, 'INTERNAL', 'The worker failed on this request.');
}
