import { type ClientReadableStream, status } from '@grpc/grpc-js';
import {
  CacheChange,
  type CacheEvent,
  type WatchCacheRequest,
  type WatchCacheResponse,
} from '@kvcapsule/contracts/worker';
import type { OwnerNumber, OwnersIndex } from '@kvcapsule/domain/owners';
import { contentKey, type ToldContent } from '@kvcapsule/domain/placement';

/** Between two calls of a worker whose last one broke; doubles up to the longest. */
const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 15_000;
/** Who does not know the call is of an older release. */
const UNKNOWN_CALL_MS = 60_000;
/** What a worker held is believed for so long after its last word, when its stream has broken. */
const BELIEVED_MS = 10_000;
const NAME_BYTES = 16;
/** The protocol's bound of what a worker asks about. */
const MOST_QUESTIONS = 64;
const NOTHING: WatchCacheRequest = { instance: '', sequence: 0n };

/** What is used of a stream of events. */
export type CacheCall = Pick<ClientReadableStream<WatchCacheResponse>, 'on' | 'cancel'>;

export interface CacheWatchParts {
  readonly index: OwnersIndex;
  readonly coming: ToldContent;
  /** Begins a call; throws while the worker cannot be reached. */
  open(known: WatchCacheRequest): CacheCall;
  /** The worker asks which of these names lie elsewhere, too. */
  asked(instance: string, names: readonly Uint8Array[]): void;
  /** The worker began anew because this router had fallen behind. */
  gap(): void;
}

/** Follows one worker's account of its caches into the index, over as many calls as it takes. */
export class CacheWatch {
  #owner: OwnerNumber | undefined;
  /** What the next call may go on after. */
  #known = NOTHING;
  #call: CacheCall | undefined;
  #heardMs = performance.now();
  #failures = 0;
  #retry: NodeJS.Timeout | undefined;
  #doubt: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(private readonly parts: CacheWatchParts) {
    this.#open();
  }

  /** Under which the index has what the worker holds; undefined while nothing is known. */
  get owner(): OwnerNumber | undefined {
    return this.#owner;
  }

  /** Since the worker's last word. */
  get silentMs(): number {
    return performance.now() - this.#heardMs;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#retry);
    this.#call?.cancel();
    this.#forget();
  }

  #open(): void {
    let call: CacheCall;
    try {
      call = this.parts.open(this.#known);
    } catch {
      this.#openLater();
      return;
    }
    this.#call = call;
    call.on('data', (events: WatchCacheResponse) => {
      if (call === this.#call) this.#hear(events);
    });
    const broken = (code?: number): void => {
      if (call !== this.#call) return;
      this.#call = undefined;
      this.#openLater(code);
    };
    call.on('error', (error) => {
      broken((error as Partial<{ code: number }>).code);
    });
    call.on('end', () => {
      broken();
    });
  }

  #openLater(code?: number): void {
    if (this.#stopped) return;
    const backoffMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** this.#failures);
    this.#failures += 1;
    this.#doubt ??= setTimeout(() => {
      this.#forget();
    }, BELIEVED_MS);
    this.#retry = setTimeout(
      () => {
        this.#open();
      },
      code === status.UNIMPLEMENTED ? UNKNOWN_CALL_MS : backoffMs,
    );
  }

  #hear({ instance, sequence, cleared, complete, events, nextEvictions }: WatchCacheResponse): void {
    this.#heardMs = performance.now();
    this.#failures = 0;
    clearTimeout(this.#doubt);
    this.#doubt = undefined;
    if (cleared) this.#beginAnew(instance);
    for (const event of events) if (event.name.length === NAME_BYTES) this.#change(event);
    this.#known = complete ? { instance, sequence } : NOTHING;
    const asked = nextEvictions.slice(0, MOST_QUESTIONS).filter(({ length }) => length === NAME_BYTES);
    if (asked.length > 0) this.parts.asked(instance, asked);
  }

  #change({ name, change, ...size }: CacheEvent): void {
    const { index, coming } = this.parts;
    const owner = this.#owner;
    switch (change) {
      case CacheChange.CACHE_CHANGE_STORED:
        coming.settled(contentKey(name));
        if (owner !== undefined) index.stored(owner, name, size);
        return;
      case CacheChange.CACHE_CHANGE_REMOVED:
        if (owner !== undefined) index.removed(owner, name);
        return;
      case CacheChange.CACHE_CHANGE_COMING:
        coming.coming(contentKey(name));
        return;
      case CacheChange.CACHE_CHANGE_WITHDRAWN:
        coming.settled(contentKey(name));
        return;
      default:
    }
  }

  #beginAnew(instance: string): void {
    if (instance === this.#known.instance) this.parts.gap();
    this.#forget();
    this.#owner = this.parts.index.join();
  }

  /** The next call begins with all that the worker holds. */
  #forget(): void {
    clearTimeout(this.#doubt);
    this.#doubt = undefined;
    if (this.#owner !== undefined) this.parts.index.leave(this.#owner);
    this.#owner = undefined;
    this.parts.coming.clear();
    this.#known = NOTHING;
  }
}
