import type { NeedPicture, SendPictureRequest } from '@kvcapsule/contracts/worker';

/** The protocol's bound of one message. */
export const CHUNK_BYTES = 256 * 1024;

/** One picture under way. */
export interface Call {
  write(message: SendPictureRequest): boolean;
  once(event: 'drain', listener: () => void): unknown;
  end(): unknown;
  cancel(): void;
}

/** Begins calls to one worker. */
export interface PictureClient {
  /** `answered` is called once, when the call has ended in whatever way. */
  sendPicture(answered: () => void): Call;
}

/** The pictures of one request, sent to its worker as it asks for them; each on a stream of its own. */
export class PictureSender {
  readonly #calls = new Map<number, Call>();

  constructor(
    private readonly client: PictureClient,
    private readonly files: readonly Buffer[],
  ) {}

  /** Pictures under way. */
  get sending(): number {
    return this.#calls.size;
  }

  /** False where the request has no such picture. */
  send({ ticket, index }: NeedPicture): boolean {
    const file = this.files[index];
    if (!file) return false;
    // the worker asks again when it has given the earlier one up
    this.#calls.get(index)?.cancel();
    const call = this.client.sendPicture(() => {
      // a failure needs no answer here: the worker says on the request's own stream what it means for the request
      if (this.#calls.get(index) === call) this.#calls.delete(index);
    });
    this.#calls.set(index, call);
    pump(call, ticket, file);
    return true;
  }

  /** The request has ended. */
  cancel(): void {
    for (const call of this.#calls.values()) call.cancel();
    this.#calls.clear();
  }
}

/** Slices, no copies; what is written ahead of the connection is bounded by the stream's own mark. */
function pump(call: Call, ticket: string, file: Buffer): void {
  let at = 0;
  const next = (): void => {
    while (at < file.length) {
      const first = at === 0;
      const data = file.subarray(at, at + CHUNK_BYTES);
      at += CHUNK_BYTES;
      if (call.write({ ticket: first ? ticket : '', totalBytes: first ? file.length : 0, data })) continue;
      call.once('drain', next);
      return;
    }
    call.end();
  };
  next();
}
