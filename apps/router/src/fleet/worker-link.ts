import { isErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import type {
  ConnectRequest,
  ConnectResponse,
  Delta,
  Event,
  Failed,
  Finished,
  Generate,
  NeedPicture,
  Prefill,
  Recompressed,
  Started,
} from '@kvcapsule/contracts/worker';
import type { Work } from '@kvcapsule/domain/placement';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { EagerPictures } from './eager-pictures.js';
import { type PictureClient, PictureSender } from './picture-sender.js';

/** What becomes of one request; after `finished`, `failed` or `lost` nothing more comes but a `flush`. */
export interface LinkListener {
  started(started: Started): void;
  /** How much of the prompt is computed; twice a second until all of it is. */
  prefilled(prefill: Prefill): void;
  delta(choice: number, delta: Delta): void;
  /** Parts of what it holds have taken another form, over which the tokens that follow were computed. */
  recompressed(forms: Recompressed): void;
  finished(finished: Finished): void;
  /** By the worker's own word, at that time of `performance.now()`: it holds nothing of the request any more. */
  failed(error: KvcError, atMs: number): void;
  /**
   * The worker is not heard any more, and may still run the request. The time is the same for all that one fault takes
   * along.
   */
  lost(error: KvcError, atMs: number): void;
  /** A frame that spoke of this request is over; it came at that time of `performance.now()`. */
  flush(nowMs: number): void;
}

/** A request for a worker, and the files of its pictures, which go along or are sent as it asks for them. */
export interface OutgoingRequest {
  readonly message: Generate;
  readonly files: readonly Buffer[];
  /** To be told of the first token. */
  readonly work: Work;
}

/** A request that has not ended. */
interface Open {
  readonly listener: LinkListener;
  readonly pictures: PictureSender;
  readonly work: Work;
}

/** What is used of the stream to a worker. */
export type WorkerStream = Pick<
  ClientDuplexStream<ConnectRequest, ConnectResponse>,
  'on' | 'write' | 'cancel'
>;

/**
 * The one multiplexed stream to a worker process. It lives until it is lost or closed; then every request on
 * it fails with `WORKER_LOST` and `onLost` is called once.
 */
export class WorkerLink {
  readonly #open = new Map<string, Open>();
  readonly #eager = new EagerPictures();
  #lost: KvcError | undefined;
  #hasSpoken = false;
  /** `performance.now()` when the worker last said something, or when it last had nothing to say. */
  #heardMs = performance.now();
  /** As `#heardMs`, of what shows that the engine works: a step more, or an event. */
  #advancedMs = performance.now();
  #steps = -1n;

  constructor(
    private readonly stream: WorkerStream,
    private readonly client: PictureClient,
    private readonly onLost: (error: KvcError) => void,
  ) {
    stream.on('data', (frame: ConnectResponse) => {
      this.#hear(frame);
      this.#receive(frame.events);
    });
    this.stream.on('error', (cause) => {
      this.close(
        new KvcError('WORKER_LOST', 'The connection to the worker was lost.', { cause, retryAfterMs: 1_000 }),
      );
    });
    this.stream.on('end', () => {
      this.close(lost('The worker closed its connection.'));
    });
  }

  /** Ms since the worker last said anything while requests were open; 0 without requests. */
  get silentMs(): number {
    return this.#open.size === 0 ? 0 : performance.now() - this.#heardMs;
  }

  /** Ms since the engine last showed that it works while requests were open; 0 without requests. */
  get stalledMs(): number {
    return this.#open.size === 0 ? 0 : performance.now() - this.#advancedMs;
  }

  /** Whether the worker has ever said anything. */
  get hasSpoken(): boolean {
    return this.#hasSpoken;
  }

  /** Whether requests are open and the worker has said something within that time. */
  speaksWithin(ms: number): boolean {
    return this.#open.size > 0 && this.silentMs <= ms;
  }

  generate({ message, files, work }: OutgoingRequest, listener: LinkListener): void {
    if (this.#lost) {
      listener.failed(this.#lost, performance.now());
      return;
    }
    if (this.#open.size === 0) this.#heardMs = this.#advancedMs = performance.now();
    const pictures = new PictureSender(this.client, files);
    this.#open.set(message.requestId, { listener, pictures, work });
    const value = { ...message, pictures: this.#eager.attach(message.pictures, files) };
    this.stream.write({ message: { $case: 'generate', value } });
  }

  /** The worker answers with `finished` (reason abort) once the pages are free. */
  abort(requestId: string): void {
    if (this.#lost) return;
    this.#open.get(requestId)?.pictures.cancel();
    this.stream.write({ message: { $case: 'abort', value: { requestId } } });
  }

  /** Nobody listens to this request any longer. */
  forget(requestId: string): void {
    this.#open.get(requestId)?.pictures.cancel();
    this.#open.delete(requestId);
  }

  /** Fails every open request and hangs up. */
  close(error: KvcError): void {
    if (this.#lost) return;
    this.#lost = error;
    this.stream.cancel();
    this.onLost(error);
    const requests = [...this.#open.values()];
    const nowMs = performance.now();
    this.#open.clear();
    for (const { listener, pictures } of requests) {
      pictures.cancel();
      listener.lost(error, nowMs);
    }
  }

  #hear({ events, progress }: ConnectResponse): void {
    this.#hasSpoken = true;
    this.#heardMs = performance.now();
    if (events.length > 0 || (progress && progress.steps > this.#steps)) this.#advancedMs = this.#heardMs;
    if (!progress) return;
    this.#steps = progress.steps;
    for (const prefill of progress.prefills) this.#open.get(prefill.requestId)?.listener.prefilled(prefill);
  }

  #receive(events: readonly Event[]): void {
    const spokenOf: LinkListener[] = [];
    for (const { requestId, event, choice = 0 } of events) {
      const open = this.#open.get(requestId);
      if (!open || !event) continue;
      if (event.$case === 'needPicture') {
        this.#bring(requestId, open, event.value);
        continue;
      }
      if (event.$case === 'finished' || event.$case === 'failed') this.forget(requestId);
      if (event.$case === 'delta') open.work.answered(this.#heardMs);
      dispatch(open.listener, event, choice, this.#heardMs);
      spokenOf.push(open.listener);
    }
    for (const listener of spokenOf) listener.flush(this.#heardMs);
  }

  #bring(requestId: string, { listener, pictures }: Open, need: NeedPicture): void {
    if (pictures.send(need)) return;
    this.abort(requestId);
    this.forget(requestId);
    listener.lost(lost('The worker asked for a picture that the request does not have.'), this.#heardMs);
  }
}

type News = Exclude<NonNullable<Event['event']>, { readonly $case: 'needPicture' }>;

function dispatch(listener: LinkListener, event: News, choice: number, nowMs: number): void {
  switch (event.$case) {
    case 'started':
      listener.started(event.value);
      return;
    case 'delta':
      listener.delta(choice, event.value);
      return;
    case 'recompressed':
      listener.recompressed(event.value);
      return;
    case 'finished':
      listener.finished(event.value);
      return;
    case 'failed':
      listener.failed(failure(event.value), nowMs);
  }
}

export function lost(message: string): KvcError {
  return new KvcError('WORKER_LOST', message, { retryAfterMs: 1_000 });
}

function failure({ code, message, param }: Failed): KvcError {
  return new KvcError(
    isErrorCode(code) ? code : 'ENGINE_FAILED',
    message,
    param === undefined ? {} : { param },
  );
}
