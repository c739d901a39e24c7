import { randomUUID } from 'node:crypto';

import { KvcError } from '@kvcapsule/contracts/errors';
import { DEFAULT_IMAGE_POLICY } from '@kvcapsule/multimodal';

/** What a router may send of one picture: as much as it takes from a client. */
const MAX_BYTES = DEFAULT_IMAGE_POLICY.maxBytes;
/** The protocol's bound of what comes with one request; beyond it files are asked for. */
const BROUGHT_BYTES = 64 * 1024;

/** From the asking to the last byte. A picture under way keeps others from being decoded; 20 MiB take 1.7 s at 100 Mbit/s. */
export const ARRIVAL_MS = 30_000;

/** A picture of a request. */
export interface WantedFile {
  readonly index: number;
  /** The content part that an error names. */
  readonly param: string;
}

/** One picture on its way here, until it is whole or given up. */
export class Arrival {
  readonly #whole = Promise.withResolvers<Buffer>();
  #file: Buffer | undefined;
  #bytes = 0;
  #isOver = false;

  constructor(
    readonly key: string,
    private readonly param: string,
    private readonly over: () => void,
  ) {}

  get file(): Promise<Buffer> {
    return this.#whole.promise;
  }

  /** False where a stream brings it already, or the file is larger than a picture may be. */
  begin(totalBytes: number): boolean {
    if (this.#isOver || this.#file) return false;
    if (totalBytes > MAX_BYTES) {
      const message = `The picture has more than ${MAX_BYTES} bytes.`;
      this.fail(new KvcError('IMAGE_TOO_LARGE', message, { param: this.param }));
      return false;
    }
    // nobody sees it before every byte has been written
    this.#file = Buffer.allocUnsafeSlow(Math.max(0, totalBytes));
    return true;
  }

  /** Whether that was the last of it, or whether no more of it is wanted. */
  take(data: Buffer): 'more' | 'whole' | 'unwanted' {
    const file = this.#file;
    if (!file) return 'unwanted';
    if (this.#bytes + data.length > file.length) {
      this.fail(notArrived('in the size that was announced'));
      return 'unwanted';
    }
    this.#bytes += data.copy(file, this.#bytes);
    if (this.#bytes < file.length) return 'more';
    this.#whole.resolve(file);
    this.#end();
    return 'whole';
  }

  fail(error: KvcError): void {
    if (this.#isOver) return;
    this.#whole.reject(error);
    this.#end();
  }

  #end(): void {
    this.#isOver = true;
    this.#file = undefined;
    this.over();
  }
}

/**
 * The pictures that came with their requests, and those that were asked for and are not here yet, by the ticket that
 * the router sends them under. The core has so few wanted at one time that the bytes of these are bounded:
 * `PARALLEL_PICTURES` times the largest picture.
 */
export class PictureInbox {
  readonly #awaited = new Map<string, Arrival>();
  /** Files by the request's key and the picture's index. */
  readonly #brought = new Map<string, Map<number, Buffer>>();

  /** Pictures that are awaited. */
  get size(): number {
    return this.#awaited.size;
  }

  /** Keeps the files that came with the request of that key until they are used, or until it ends. */
  bring(key: string, files: readonly (Buffer | undefined)[]): void {
    const kept = new Map<number, Buffer>();
    let roomBytes = BROUGHT_BYTES;
    for (const [index, file] of files.entries()) {
      if (!file || file.length > roomBytes) continue;
      roomBytes -= file.length;
      kept.set(index, file);
    }
    if (kept.size > 0) this.#brought.set(key, kept);
  }

  /**
   * The file of a picture of the request with that key; asks for it where it did not come along. Rejects with `ABORTED` when the request ends
   * first, `IMAGE_TOO_LARGE`, or `WORKER_LOST`, upon which the router asks another worker: it did not arrive.
   */
  receive(key: string, { index, param }: WantedFile, ask: (ticket: string) => void): Promise<Buffer> {
    const brought = this.#brought.get(key)?.get(index);
    if (brought) {
      // what was made of it may have to make room: then it is asked for
      this.#brought.get(key)?.delete(index);
      return Promise.resolve(brought);
    }
    const ticket = randomUUID();
    const arrival = new Arrival(key, param, () => {
      clearTimeout(timer);
      this.#awaited.delete(ticket);
    });
    const timer = setTimeout(() => {
      arrival.fail(notArrived('in time'));
    }, ARRIVAL_MS);
    this.#awaited.set(ticket, arrival);
    ask(ticket);
    return arrival.file;
  }

  /** A stream brings this picture. Undefined where it is not awaited, another stream brings it, or it is too large. */
  open(ticket: string, totalBytes: number): Arrival | undefined {
    const arrival = this.#awaited.get(ticket);
    return arrival?.begin(totalBytes) ? arrival : undefined;
  }

  /** The request has ended: nobody needs what is on its way for it. */
  cancel(key: string): void {
    this.#brought.delete(key);
    for (const arrival of this.#awaited.values())
      if (arrival.key === key) arrival.fail(new KvcError('ABORTED', 'The request has ended.'));
  }
}

export function notArrived(how: string): KvcError {
  return new KvcError('WORKER_LOST', `A picture did not reach the worker ${how}.`, { retryAfterMs: 1_000 });
}
