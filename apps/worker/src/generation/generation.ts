import type { Event, Generate } from '@kvcapsule/contracts/worker';
import type { SpanForm } from '@kvcapsule/domain/identity';
import type { ScheduledPicture, TextForm } from '@kvcapsule/domain/scheduling';
import type { Codec } from '@kvcapsule/engine';
import { type Features, type Sampling, type TextStream, TokenCounts } from '@kvcapsule/serving';

/** Where a request's news go. Events pushed in one turn of the event loop leave as one frame. */
export interface EventSink {
  push(event: Event): void;
}

export interface GenerationPicture extends ScheduledPicture {
  readonly encoded: Uint8Array;
  readonly param: string;
  readonly imageTokens: number;
  /** Per row of the span: -1 for a marker, or the row of the picture's features. */
  readonly featureRows: Int32Array;
  /** How the span is kept, for its name. */
  readonly form: SpanForm;
}

/** What a valid request asks for. */
export interface GenerationSpec {
  readonly requestId: string;
  readonly lease: Generate['lease'];
  readonly promptTokenIds: readonly number[];
  readonly pictures: readonly GenerationPicture[];
  readonly sampling: Sampling;
  readonly kvCodec: Codec;
  /** How its text is kept, and what it may become when it is raw and pages run short. */
  readonly text: TextForm | undefined;
  readonly textUnderPressure: TextForm | undefined;
  readonly maxTokens: number;
  /** From the request's arrival. */
  readonly remainingMs: number | undefined;
  /** Only requests with the same one share cached prefixes. */
  readonly cacheSalt: string;
  /** Lower ones go first. */
  readonly priority: number;
}

/** One request from its arrival to its last event. */
export class Generation {
  /** Prompt and answer so far. */
  readonly tokenIds: number[];
  /** What its penalties count; undefined without penalties. */
  readonly penalised: TokenCounts | undefined;
  /** Features in the engine that this request has pinned, by picture. */
  readonly features = new Map<number, Features>();
  /** Pictures that took the form they have under pressure. */
  readonly recompressed = new Set<number>();
  /** The same of runs of its text, by their first tokens. */
  readonly pressedRuns = new Set<number>();
  /** Tokens of the prompt that its admission found in the prefix cache. */
  cachedTokens = 0;
  /** Tokens of prompt and answer that the engine has computed, those found in the cache included. */
  computedTokens = 0;
  started = false;
  ended = false;
  deadlineTimer: NodeJS.Timeout | undefined;
  #textForm: TextForm | undefined;

  constructor(
    /** Unique in this process; request ids are unique per stream only. */
    readonly key: string,
    readonly spec: GenerationSpec,
    readonly text: TextStream,
    readonly sink: EventSink,
  ) {
    this.tokenIds = [...spec.promptTokenIds];
    this.#textForm = spec.text;
    const { presencePenalty, frequencyPenalty, repetitionPenalty } = spec.sampling;
    if (presencePenalty !== 0 || frequencyPenalty !== 0 || repetitionPenalty !== 1) {
      this.penalised = new TokenCounts(repetitionPenalty === 1 ? [] : spec.promptTokenIds);
    }
  }

  get promptTokens(): number {
    return this.spec.promptTokenIds.length;
  }

  /** How its text is kept from its beginning. */
  get textForm(): TextForm | undefined {
    return this.#textForm;
  }

  /** It is computed again; its text, where some of it had been compressed, is compressed as it comes. */
  restart(): void {
    if (this.pressedRuns.size > 0) this.#textForm = this.spec.textUnderPressure;
  }

  get completionTokens(): number {
    return this.tokenIds.length - this.promptTokens;
  }

  /** Takes a new token of the answer in. */
  append(tokenId: number): void {
    this.tokenIds.push(tokenId);
    this.penalised?.add(tokenId);
  }

  emit(event: NonNullable<Event['event']>): void {
    this.sink.push({ requestId: this.spec.requestId, event });
  }
}
