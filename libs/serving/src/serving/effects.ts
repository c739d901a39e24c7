import type { ModelInput } from '@kvcapsule/domain/model-input';
import type { PageMove, SchedulerCounters } from '@kvcapsule/domain/scheduling';

import type { RequestIds } from '../generation/request.js';
import type { TokenLogprob } from '../generation/text-stream.js';
import type { Usage } from '../generation/usage.js';
import type { LeaseEffect } from '../leases/lease-effects.js';
import type { PictureEffect } from '../pictures/picture-effects.js';

export type FinishReason = 'stop' | 'length' | 'abort';

/** The events of a request, for its sender; `finished` or `failed` is the last one. */
export type RequestEvent =
  | { readonly kind: 'started'; readonly promptTokens: number; readonly cachedTokens: number }
  /** Pictures, and runs of text by their first token, that took another form as pages ran short. */
  | {
      readonly kind: 'recompressed';
      readonly pictures: readonly number[];
      readonly textStarts: readonly number[];
    }
  | {
      readonly kind: 'delta';
      readonly text: string;
      readonly tokenIds: number[];
      /** One for each of the tokens, where asked for; an end token that ends the answer has none. */
      readonly logprobs: TokenLogprob[];
    }
  | {
      readonly kind: 'finished';
      readonly reason: FinishReason;
      readonly text: string;
      readonly usage: Usage;
      /** With `length`: not the request's bound ended it, but the pool. */
      readonly poolExhausted?: true;
    }
  | {
      readonly kind: 'failed';
      readonly code: string;
      readonly message: string;
      readonly param?: string | undefined;
    };

/** One step for the engine. */
export interface EngineStep {
  readonly number: number;
  /** Pages to be read and kept by the id, before everything else. */
  readonly reads: readonly PageMove[];
  /** Pages that get the bytes kept for the id, after the reads and before the changes. */
  readonly writes: readonly PageMove[];
  readonly input: ModelInput;
}

/** What happened, for metrics and logs; nothing depends on who listens. */
export type Report =
  | { readonly kind: 'requestReceived' }
  /** Its first rows are in a step that is about to run. */
  | { readonly kind: 'requestScheduled'; readonly key: string }
  | {
      readonly kind: 'requestFinished';
      readonly key: string;
      readonly ids: RequestIds;
      readonly reason: FinishReason;
      readonly usage: Usage;
    }
  | { readonly kind: 'requestFailed'; readonly key: string; readonly ids: RequestIds; readonly code: string }
  /** It was never taken in; its ids are whatever was sent. */
  | { readonly kind: 'requestRefused'; readonly code: string }
  | { readonly kind: 'poolExhausted'; readonly key: string; readonly ids: RequestIds }
  | { readonly kind: 'stepPlanned'; readonly counters: SchedulerCounters }
  | {
      readonly kind: 'stepLanded';
      readonly durationMs: number;
      /** Tokens computed. */
      readonly rows: number;
      readonly compressions: number;
      readonly compressSeconds: number;
    }
  | { readonly kind: 'stepsFailed'; readonly steps: readonly number[]; readonly error: unknown }
  | { readonly kind: 'engineLost'; readonly error: unknown }
  | { readonly kind: 'featuresLookedUp'; readonly outcome: 'hit' | 'miss' }
  | { readonly kind: 'featuresEvicted' };

/** What the surroundings are to do, in this order. */
export type Effect =
  | { readonly kind: 'event'; readonly key: string; readonly event: RequestEvent }
  /** Answered by `landed` or `failed`. */
  | { readonly kind: 'runStep'; readonly step: EngineStep }
  /** One by one: the engine refuses those that are not open, and that is right. Answered by `slotsClosed`. */
  | { readonly kind: 'closeSlots'; readonly slots: readonly number[] }
  /** What was read out for this id is not needed. */
  | { readonly kind: 'forgetPages'; readonly id: string }
  /** There may be something to plan. */
  | { readonly kind: 'wake' }
  /** `expire` is to be called at this time; a later one of these takes the place of it. */
  | { readonly kind: 'wakeAt'; readonly atMs: number }
  | { readonly kind: 'drained'; readonly ticket: string; readonly aborted: number }
  | { readonly kind: 'report'; readonly report: Report }
  | PictureEffect
  | LeaseEffect;

/** Gathers what one call decides. */
export class Outbox {
  #effects: Effect[] = [];

  push(effect: Effect): void {
    this.#effects.push(effect);
  }

  report(report: Report): void {
    this.#effects.push({ kind: 'report', report });
  }

  take(): readonly Effect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }
}
