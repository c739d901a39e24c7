import type { ServerWritableStream } from '@grpc/grpc-js';
import {
  CacheChange,
  CachedContent,
  type CacheEvent,
  type WatchCacheResponse,
  type WatchCacheRequest,
} from '@kvcapsule/contracts/worker';
import type {
  CacheBatch,
  CacheChange as Change,
  CachedKind,
  CacheLog,
  CacheReader,
} from '@kvcapsule/domain/owners';

/** How often changes are looked for: they go out together, since a step stores several blocks. */
const INTERVAL_MS = 50;
/** What is coming is told so soon: whoever has not heard of it may have it computed a second time. */
const SOON_MS = 2;
/** The protocol's bound of one message; to read and write so many takes about a millisecond. */
const MOST_EVENTS = 1_000;
/** As often something is said where nothing changes, so that a router knows that it has missed nothing. */
const IDLE_MS = 10_000;
/** Bytes of a name that go out: two contents with equal ones are not to be expected in 2^64 of them. */
export const NAME_BYTES = 16;

/** One router's call. */
export type CacheCall = ServerWritableStream<WatchCacheRequest, WatchCacheResponse>;

/** What a stream tells of. */
export interface Told {
  readonly log: CacheLog;
  /** Of this process and no other. */
  readonly instance: string;
  /** Names that are to be asked about over this stream at this moment. */
  questions(stream: CacheStream): readonly string[];
  closed(stream: CacheStream): void;
}

const CONTENT: Record<CachedKind, CachedContent> = {
  text: CachedContent.CACHED_CONTENT_TEXT,
  run: CachedContent.CACHED_CONTENT_RUN,
  picture: CachedContent.CACHED_CONTENT_PICTURE,
  features: CachedContent.CACHED_CONTENT_FEATURES,
};

const CHANGE: Record<Change['kind'], CacheChange> = {
  stored: CacheChange.CACHE_CHANGE_STORED,
  removed: CacheChange.CACHE_CHANGE_REMOVED,
  coming: CacheChange.CACHE_CHANGE_COMING,
  withdrawn: CacheChange.CACHE_CHANGE_WITHDRAWN,
};

/** Tells a router what the worker holds. It writes when the router has read, and keeps nothing for it meanwhile. */
export class CacheStream {
  readonly #reader: CacheReader;
  #timer: NodeJS.Timeout | undefined;
  #isSoon = false;
  #writtenMs = performance.now();

  constructor(
    private readonly call: CacheCall,
    private readonly told: Told,
  ) {
    const { instance: known, sequence } = call.request;
    this.#reader = told.log.read(known === told.instance ? Number(sequence) : undefined);
    const unheard = told.log.onExpected(() => {
      this.#soon();
    });
    for (const event of ['cancelled', 'error', 'close']) {
      call.on(event, () => {
        unheard();
        clearTimeout(this.#timer);
        this.#timer = undefined;
        this.call.removeAllListeners('drain');
        told.closed(this);
      });
    }
    call.on('drain', () => {
      this.#later(0);
    });
    this.#later(0);
  }

  /** The loop goes on between two messages, however much there is to tell. */
  #later(ms: number): void {
    this.#timer = setTimeout(() => {
      this.#tell();
    }, ms);
  }

  /** Sooner than it would be, unless the router has yet to read what was written. */
  #soon(): void {
    if (this.#isSoon || !this.#timer) return;
    this.#isSoon = true;
    clearTimeout(this.#timer);
    this.#later(SOON_MS);
  }

  #tell(): void {
    this.#timer = undefined;
    this.#isSoon = false;
    const batch = this.#reader.next(MOST_EVENTS);
    const questions = this.#reader.isComplete ? this.told.questions(this) : [];
    if (!batch && questions.length === 0 && performance.now() - this.#writtenMs < IDLE_MS) {
      this.#later(INTERVAL_MS);
      return;
    }
    this.#writtenMs = performance.now();
    const said = batch ?? { cleared: false, complete: true, sequence: this.#reader.sequence, changes: [] };
    const isFull = !said.complete || said.changes.length === MOST_EVENTS;
    if (this.call.write(messageOf(said, this.told.instance, questions)))
      this.#later(isFull ? 0 : INTERVAL_MS);
  }
}

function messageOf(batch: CacheBatch, instance: string, questions: readonly string[]): WatchCacheResponse {
  const { cleared, complete, sequence, changes } = batch;
  const events = changes.map(eventOf);
  const nextEvictions = questions.map(bytesOf);
  return { instance, sequence: BigInt(sequence), cleared, complete, events, nextEvictions };
}

function eventOf(change: Change): CacheEvent {
  const kind = CHANGE[change.kind];
  if (change.kind !== 'stored') {
    const nothing = { content: CachedContent.CACHED_CONTENT_UNSPECIFIED, tokens: 0, pages: 0 };
    return { name: bytesOf(change.name), change: kind, ...nothing };
  }
  const { name, tokens, pages } = change.item;
  return { name: bytesOf(name), change: kind, content: CONTENT[change.item.kind], tokens, pages };
}

function bytesOf(name: string): Buffer {
  return Buffer.from(name.slice(0, 2 * NAME_BYTES), 'hex');
}
