import { KvcError } from '@kvcapsule/contracts/errors';
import type { Receipt } from '../placement/receipt.js';
import type {
  Delta,
  Finished,
  Prefill,
  Recompressed,
  Started,
  TokenLogprob,
} from '@kvcapsule/contracts/worker';
import { type ScoredPiece, ScoredText } from './scored-text.js';

/** What one frame of a worker added to one choice. */
export interface TranscriptEntry {
  /** Counts from 0 without gaps. */
  readonly sequence: number;
  readonly choice: number;
  readonly tokenIds: readonly number[];
  readonly text: string;
  /** Of the tokens whose text this is, where they were asked for. */
  readonly logprobs: readonly TokenLogprob[];
  /** Of the worker that drew it. */
  readonly fingerprint: string;
}

/** How a generation ended: with its last words, or with what was thrown. */
export type TranscriptEnd =
  { readonly finished: Finished } | { readonly finished: undefined; readonly fault: unknown };

/** Who follows a generation. It is never called from within its own `take`. */
export interface Subscriber {
  /** At that time of `performance.now()` there is something to take, or the end has come; at most twice a frame. */
  wake(nowMs: number): void;
  /** How much of the prompt is computed; news that may be left out. */
  prefilled(prefill: Prefill): void;
  /** It was further behind than the window reaches, and has left. */
  cutOff(reason: KvcError): void;
}

/** How many pictures and runs of text pressure has given another form. */
export interface Pressed {
  readonly pictures: number;
  readonly textRuns: number;
}

/** Whose generation it is. */
export interface TranscriptOwner {
  /** The last subscriber has left before the end. */
  abandoned(reason: Error): void;
  /** The end has come and every subscriber has left. */
  closed(): void;
}

/** Sees everything as it is written, however far behind the subscribers are. */
export interface TranscriptObserver {
  /** It was given to a worker, the first or another one. */
  placed?(receipt: Receipt): void;
  started(): void;
  /** One frame brought tokens, at that time of `performance.now()`. */
  appended(nowMs: number): void;
  ended(finished: Finished | undefined): void;
}

/** A subscriber's place in the record. */
export interface TranscriptReader {
  /** Everything since the last call. */
  take(): readonly TranscriptEntry[];
  leave(reason: Error): void;
}

interface Place extends TranscriptReader {
  readonly subscriber: Subscriber;
  /** Sequence of the first entry not taken. */
  next: number;
}

interface TranscriptOptions {
  /** How much text and how many log-probabilities may wait for the slowest subscriber. */
  readonly windowBytes: number;
  /** Log-probabilities come with its tokens. */
  readonly scored: boolean;
  readonly owner: TranscriptOwner;
  readonly observer: TranscriptObserver;
}

const ENTRY_BYTES = 128;
const LOGPROB_BYTES = 192;

/**
 * A generation as an append-only record, whichever workers write it one after the other. Subscribers take from it at their own pace: entries stay until the
 * slowest has taken them, and one that falls behind by more than the window is cut off. The ids of all tokens
 * stay to the end.
 */
export class Transcript {
  /** All tokens of the answer so far. */
  readonly tokenIds: number[] = [];
  #receipt: Receipt | undefined;
  #window: TranscriptEntry[] = [];
  #windowBytes = 0;
  /** Sequence of the next entry. */
  #next = 0;
  readonly #scored: ScoredText | undefined;
  #fingerprint = '';
  readonly #recompressed = { pictures: new Set<number>(), texts: new Set<number>() };
  #unread = false;
  #accepted = false;
  #started: Started | undefined;
  #end: TranscriptEnd | undefined;
  readonly #places = new Set<Place>();

  constructor(private readonly options: TranscriptOptions) {
    this.#scored = options.scored ? new ScoredText() : undefined;
  }

  /** The request is sound: what is left is to wait for a worker. */
  get accepted(): boolean {
    return this.#accepted;
  }

  /** Of the worker that the answer lies with; empty before it has one. */
  get fingerprint(): string {
    return this.#fingerprint;
  }

  /** What was said of the prompt when the answer began. */
  get started(): Started | undefined {
    return this.#started;
  }

  /** What took another form while the answer ran, whichever of its workers it lay with. */
  get pressed(): Pressed {
    const { pictures, texts } = this.#recompressed;
    return { pictures: pictures.size, textRuns: texts.size };
  }

  get end(): TranscriptEnd | undefined {
    return this.#end;
  }

  /** Who answers, once that is known. */
  get receipt(): Receipt | undefined {
    return this.#receipt;
  }

  place(receipt: Receipt): void {
    this.#receipt = receipt;
    this.options.observer.placed?.(receipt);
  }

  /** Bytes, as they are counted here, that wait for the slowest subscriber. */
  get windowBytes(): number {
    return this.#windowBytes;
  }

  /** Begins with the oldest entry of the window. Wakes the subscriber only for what comes later. */
  subscribe(subscriber: Subscriber): TranscriptReader {
    const place: Place = {
      subscriber,
      next: this.#first,
      take: () => this.#take(place),
      leave: (reason) => {
        this.#leave(place, reason);
      },
    };
    this.#places.add(place);
    return place;
  }

  accept(): void {
    this.#accepted = true;
  }

  /** The answer begins, or goes on, with a worker of that fingerprint. */
  lieWith(fingerprint: string): void {
    this.#fingerprint = fingerprint;
  }

  /** What the first of several workers says of the prompt stands as soon as its answer has begun. */
  start(started: Started): void {
    if (this.#end) return;
    if (this.tokenIds.length === 0) this.#started = started;
    this.options.observer.started();
  }

  prefilled(prefill: Prefill): void {
    for (const { subscriber } of this.#places) subscriber.prefilled(prefill);
  }

  /** The answer goes on over other forms, and that stays true of it wherever it goes on. */
  recompressed({ pictures, textStarts }: Recompressed): void {
    if (this.#end) return;
    for (const picture of pictures) this.#recompressed.pictures.add(picture);
    for (const start of textStarts) this.#recompressed.texts.add(start);
  }

  /** Subscribers hear of it with the next `flush`. */
  append(choice: number, { text, tokenIds, logprobs }: Delta): void {
    if (this.#end) return;
    for (const tokenId of tokenIds) this.tokenIds.push(tokenId);
    this.#add(choice, tokenIds, this.#scored?.push(text, logprobs) ?? { text, logprobs });
  }

  /** Written out, since copying a piece's fields into an entry takes four times as long. */
  #add(choice: number, tokenIds: readonly number[], { text, logprobs }: ScoredPiece): void {
    const entry = { sequence: this.#next, choice, tokenIds, text, logprobs, fingerprint: this.#fingerprint };
    this.#next += 1;
    this.#window.push(entry);
    this.#windowBytes += bytesOf(entry);
    this.#unread = true;
    if (this.#windowBytes > this.options.windowBytes) this.#cutOffSlowest();
  }

  /** A frame of the worker is over, which came at that time of `performance.now()`. */
  flush(nowMs: number): void {
    if (!this.#unread) return;
    this.#note(nowMs);
    this.#wake(nowMs);
  }

  /** The answer is complete; text that the worker had held back is its last entry. */
  finish(finished: Finished): void {
    if (this.#end) return;
    const { text, logprobs } = this.#scored?.end(finished.text) ?? { text: finished.text, logprobs: [] };
    if (text !== '' || logprobs.length > 0) this.#add(0, [], { text, logprobs });
    this.#conclude({ finished: this.#asItBegan(finished) });
  }

  fail(fault: unknown): void {
    this.#conclude({ finished: undefined, fault });
  }

  /** What the last of several workers found in its cache is no saving of the answer's. */
  #asItBegan(finished: Finished): Finished {
    const { usage } = finished;
    const cachedTokens = this.#started?.cachedTokens;
    if (!usage || cachedTokens === undefined || cachedTokens === usage.cachedTokens) return finished;
    return { ...finished, usage: { ...usage, cachedTokens } };
  }

  get #first(): number {
    return this.#next - this.#window.length;
  }

  #take(place: Place): readonly TranscriptEntry[] {
    const window = this.#window;
    const skipped = place.next - this.#first;
    place.next = this.#next;
    this.#trim();
    return skipped === 0 ? window : window.slice(skipped);
  }

  /** Lets go of what every subscriber has taken. Never changes a window that was handed out. */
  #trim(): void {
    let oldest = this.#next;
    for (const { next } of this.#places) oldest = Math.min(oldest, next);
    const first = this.#first;
    if (oldest === first) return;
    this.#window = oldest === this.#next ? [] : this.#window.slice(oldest - first);
    this.#windowBytes = 0;
    for (const entry of this.#window) this.#windowBytes += bytesOf(entry);
  }

  #cutOffSlowest(): void {
    const first = this.#first;
    const reason = tooSlow();
    for (const place of [...this.#places].filter(({ next }) => next === first)) {
      this.#leave(place, reason);
      place.subscriber.cutOff(reason);
    }
    // Without a subscriber nothing is kept for one.
    this.#trim();
  }

  #leave(place: Place, reason: Error): void {
    if (!this.#places.delete(place)) return;
    this.#trim();
    if (this.#places.size > 0) return;
    if (this.#end) this.options.owner.closed();
    else this.options.owner.abandoned(reason);
  }

  #conclude(end: TranscriptEnd): void {
    if (this.#end) return;
    const nowMs = performance.now();
    if (this.#unread) this.#note(nowMs);
    this.#end = end;
    this.options.observer.ended(end.finished);
    this.#wake(nowMs);
    if (this.#places.size === 0) this.options.owner.closed();
  }

  #note(nowMs: number): void {
    this.#unread = false;
    this.options.observer.appended(nowMs);
  }

  #wake(nowMs: number): void {
    for (const { subscriber } of this.#places) subscriber.wake(nowMs);
  }
}

/** Why a client that does not take its answer in loses it. */
export function tooSlow(): KvcError {
  return new KvcError('CLIENT_TOO_SLOW', 'The client reads its answer too slowly.');
}

/** About what an entry takes while it waits: a character of text counts two bytes, a token id eight. */
function bytesOf({ text, tokenIds, logprobs }: TranscriptEntry): number {
  let scores = logprobs.length;
  for (const { top } of logprobs) scores += top.length;
  return ENTRY_BYTES + 2 * text.length + 8 * tokenIds.length + LOGPROB_BYTES * scores;
}
