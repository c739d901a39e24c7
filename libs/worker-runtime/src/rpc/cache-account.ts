import { type handleServerStreamingCall, type handleUnaryCall, status } from '@grpc/grpc-js';
import type {
  AdviseEvictionRequest,
  AdviseEvictionResponse,
  WatchCacheResponse,
  WatchCacheRequest,
} from '@kvcapsule/contracts/worker';
import type { Serving } from '@kvcapsule/serving';

import { CacheStream, NAME_BYTES, type Told } from './cache-stream.js';

/** The protocol's bound of what is asked about at one time. */
const MOST_QUESTIONS = 64;
const QUESTIONS_MS = 1_000;

/** What is used of a worker's core. */
export type Account = Pick<Serving, 'cacheLog' | 'nextEvictions' | 'adviseCopies'>;

/** Tells every router what the worker holds, and asks one of them which of it lies elsewhere, too. */
export class CacheAccount implements Told {
  #asked: CacheStream | undefined;
  #askedMs = -Infinity;

  /** @param instance of this process and no other */
  constructor(
    private readonly serving: Account,
    readonly instance: string,
  ) {}

  get log(): Serving['cacheLog'] {
    return this.serving.cacheLog;
  }

  /** `WatchCache` */
  readonly watch: handleServerStreamingCall<WatchCacheRequest, WatchCacheResponse> = (call) => {
    new CacheStream(call, this);
  };

  /** `AdviseEviction` */
  readonly advise: handleUnaryCall<AdviseEvictionRequest, AdviseEvictionResponse> = (
    { request: { instance, copiedNames } },
    callback,
  ) => {
    const isValid =
      copiedNames.length <= MOST_QUESTIONS && copiedNames.every(({ length }) => length === NAME_BYTES);
    if (!isValid) callback({ code: status.INVALID_ARGUMENT, details: 'not what was asked about' });
    else if (instance !== this.instance) callback({ code: status.NOT_FOUND, details: 'another process' });
    else {
      this.serving.adviseCopies(copiedNames.map((name) => name.toString('hex')));
      callback(null, {});
    }
  };

  questions(stream: CacheStream): readonly string[] {
    const nowMs = performance.now();
    this.#asked ??= stream;
    if (stream !== this.#asked || nowMs - this.#askedMs < QUESTIONS_MS) return [];
    this.#askedMs = nowMs;
    return this.serving.nextEvictions(MOST_QUESTIONS);
  }

  /** Nobody is there who would know better: what was said of copies counts no more. */
  closed(stream: CacheStream): void {
    if (stream !== this.#asked) return;
    this.#asked = undefined;
    this.serving.adviseCopies([]);
  }
}
