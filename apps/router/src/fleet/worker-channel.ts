import {
  type ClientReadableStream,
  connectivityState,
  Metadata,
  type requestCallback,
  status,
} from '@grpc/grpc-js';
import { KvcError } from '@kvcapsule/contracts/errors';
import type {
  AdviseEvictionRequest,
  SetAdmissionResponse,
  DescribeFormatsResponse,
  DescribePoolResponse,
  WatchCacheResponse,
  WatchCacheRequest,
  WorkerServiceClient,
} from '@kvcapsule/contracts/worker';
import type { Reach } from '@kvcapsule/domain/placement';
import { probe } from './probe.js';
import { PictureUploads } from './picture-uploads.js';
import { lost, WorkerLink } from './worker-link.js';

/** Between two looks at a lost connection; doubles up to the longest, which is also the longest of gRPC's own. */
const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 2_000;
/**
 * A connection that is back within this time was a hiccup: requests wait for it instead of being refused. Looks come
 * every two seconds later on, and a busy machine answers one in as long: with one second, a way that broke for a third
 * of one was an outage to those who came then.
 */
const HICCUP_MS = 3_000;
const ADVICE_MS = 1_000;
/** A worker tells the registry before it answers. */
const ADMISSION_MS = 5_000;
const DESCRIPTION_MS = 3_000;

export interface ChannelEvents {
  /** The connection was lost, so many times in a row without a word from the worker between them. */
  lost(error: KvcError, losses: number): void;
  /** The worker can be asked again: so many looks after the last of so many losses. */
  reachable(looks: number, losses: number): void;
}

/**
 * The one gRPC channel to a worker process, the one stream on it, and a connection for pictures. A stream that is lost
 * takes its requests along; from then on nobody is sent there until the connection stands again, which this looks
 * after in the background: a dead worker costs no request anything until its record expires.
 */
export class WorkerChannel {
  #client: WorkerServiceClient | undefined;
  #link: WorkerLink | undefined;
  readonly #pictures: PictureUploads;
  /** Losses in a row without a word from the worker between them. */
  #losses = 0;
  #looks = 0;
  /** `performance.now()` of the loss, until the process answers again. */
  #lostMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(
    readonly address: string,
    private readonly connect: (address: string) => WorkerServiceClient,
    private readonly events: ChannelEvents,
  ) {
    this.#pictures = new PictureUploads(address);
  }

  get reach(): Reach {
    if (this.#lostMs === undefined) return 'open';
    return performance.now() - this.#lostMs <= HICCUP_MS ? 'reconnecting' : 'unreachable';
  }

  /** The open link if there is one. */
  get current(): WorkerLink | undefined {
    return this.#link;
  }

  /** The open link, made when there is none. Throws `WORKER_LOST` while the worker cannot be reached. */
  link(): WorkerLink {
    if (this.#closed || this.#lostMs !== undefined) throw lost('The connection to the worker was lost.');
    return (this.#link ??= this.#open());
  }

  /** The worker's account of its caches. Throws `WORKER_LOST` while it cannot be reached. */
  watchCache(known: WatchCacheRequest): ClientReadableStream<WatchCacheResponse> {
    if (this.#closed || this.#lostMs !== undefined) throw lost('The connection to the worker was lost.');
    return (this.#client ??= this.connect(this.address)).watchCache(known);
  }

  /** What each page of its pool holds. Rejects with `WORKER_LOST` where it does not say so in time. */
  describePool(): Promise<DescribePoolResponse> {
    return this.#describe('The worker does not say what its pool holds.', (client, deadline, callback) => {
      client.describePool({}, new Metadata(), { deadline }, callback);
    });
  }

  /** What its formats keep of each layer. Rejects with `WORKER_LOST` where it does not say so in time, or cannot. */
  describeFormats(): Promise<DescribeFormatsResponse> {
    return this.#describe('The worker does not say what its codecs keep.', (client, deadline, callback) => {
      client.describeFormats({}, new Metadata(), { deadline }, callback);
    });
  }

  #describe<T>(
    refusal: string,
    ask: (client: WorkerServiceClient, deadline: number, callback: requestCallback<T>) => void,
  ): Promise<T> {
    if (this.#closed || this.#lostMs !== undefined)
      return Promise.reject(lost('The connection to the worker was lost.'));
    const client = (this.#client ??= this.connect(this.address));
    return new Promise((resolve, reject) => {
      ask(client, Date.now() + DESCRIPTION_MS, (error, description) => {
        if (error || !description) reject(lost(refusal));
        else resolve(description);
      });
    });
  }

  /** Advice that comes too late is of no use, and is not missed. */
  adviseEviction(advice: AdviseEvictionRequest): void {
    if (this.#closed || this.#lostMs !== undefined) return;
    const deadline = Date.now() + ADVICE_MS;
    this.#client?.adviseEviction(advice, new Metadata(), { deadline }, () => undefined);
  }

  /** Has the worker take requests, or none. Rejects with `WORKER_LOST`, or `DRAINING` from one that ends. */
  setAdmission(open: boolean): Promise<SetAdmissionResponse> {
    if (this.#closed || this.#lostMs !== undefined) throw lost('The connection to the worker was lost.');
    const client = (this.#client ??= this.connect(this.address));
    const deadline = Date.now() + ADMISSION_MS;
    return new Promise((resolve, reject) => {
      client.setAdmission({ open }, new Metadata(), { deadline }, (error, answer) => {
        if (!error) resolve(answer);
        else if (error.code !== status.FAILED_PRECONDITION) reject(lost('The worker did not answer.'));
        else reject(new KvcError('DRAINING', 'The worker ends, or has failed: it takes no requests again.'));
      });
    });
  }

  /**
   * The worker hangs: its requests fail. The connection may look well for as long as the machine answers in its
   * place, so it is made anew, and that takes an answer of the process.
   */
  hangUp(error: KvcError): void {
    this.#client?.close();
    this.#client = undefined;
    this.#link?.close(error);
  }

  /** Fails every open request and leaves nothing open. */
  close(error: KvcError): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#link?.close(error);
    this.#pictures.close();
    this.#client?.close();
  }

  #open(): WorkerLink {
    const client = (this.#client ??= this.connect(this.address));
    const link = new WorkerLink(client.connect(), this.#pictures, (error) => {
      this.#lost(link, error);
    });
    return link;
  }

  #lost(link: WorkerLink, error: KvcError): void {
    this.#link = undefined;
    // as the stream was lost, so may be what its pictures go over
    this.#pictures.close();
    if (this.#closed) return;
    this.#losses = link.hasSpoken ? 1 : this.#losses + 1;
    this.#looks = 0;
    this.#lostMs = performance.now();
    this.events.lost(error, this.#losses);
    this.#lookLater(this.#losses);
  }

  #lookLater(times: number): void {
    const backoffMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (times - 1));
    this.#timer = setTimeout(() => {
      this.#look();
    }, backoffMs);
  }

  /** Asking for the state makes an idle channel connect; while it cannot, gRPC tries again with its own backoff. */
  #look(): void {
    this.#looks += 1;
    const client = (this.#client ??= this.connect(this.address));
    if (client.getChannel().getConnectivityState(true) !== connectivityState.READY) return this.#lookAgain();
    probe(client, (isAnswered) => {
      if (this.#closed) return;
      if (!isAnswered) return this.#lookAgain();
      this.#lostMs = undefined;
      this.events.reachable(this.#looks, this.#losses);
    });
  }

  #lookAgain(): void {
    this.#lookLater(this.#losses + this.#looks);
  }
}
