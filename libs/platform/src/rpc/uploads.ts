import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';

/** Of a message: that it is not compressed, and its length. */
const PREFIX_BYTES = 5;
/** A connection that carries nothing for so long is closed; the next call makes another. */
const IDLE_MS = 10_000;

const HEADERS = {
  [constants.HTTP2_HEADER_METHOD]: 'POST',
  [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc',
  [constants.HTTP2_HEADER_TE]: 'trailers',
};

/** One call under way. */
export class Upload {
  constructor(private readonly stream: ClientHttp2Stream) {}

  /**
   * One message in two pieces, the first of which may be copied. The second is read where it lies, by the kernel too:
   * its memory must stay as it is until `written` is called, which may never be where the call breaks off.
   *
   * @returns false where `drain` should be waited for
   */
  write(head: Uint8Array, data: Buffer, written: () => void): boolean {
    const { stream } = this;
    if (stream.destroyed || stream.writableEnded) return false;
    const first = Buffer.allocUnsafe(PREFIX_BYTES + head.length);
    first.writeUInt8(0, 0);
    first.writeUInt32BE(head.length + data.length, 1);
    first.set(head, PREFIX_BYTES);
    stream.cork();
    stream.write(first);
    const hasRoom = stream.write(data, (error) => {
      if (!error) written();
    });
    stream.uncork();
    return hasRoom;
  }

  once(event: 'drain', listener: () => void): void {
    this.stream.once(event, listener);
  }

  end(): void {
    this.stream.end();
  }

  cancel(): void {
    this.stream.close(constants.NGHTTP2_CANCEL);
  }
}

/**
 * Calls of one client-streaming method with large messages, without gRPC's library, which copies each of them twice:
 * a picture of a megabyte leaves two of garbage, and memory outside V8's heap has V8 mark all that is in it. How a call
 * ends is not told apart.
 */
export class UploadClient {
  #session: ClientHttp2Session | undefined;

  /** @param address host:port, without TLS; connects with the first call. */
  constructor(
    private readonly address: string,
    private readonly path: string,
  ) {}

  /** Begins a call; `ended` is called once, when it is answered, cancelled or broken. */
  begin(ended: () => void): Upload {
    const stream = this.#connected().request({ ...HEADERS, [constants.HTTP2_HEADER_PATH]: this.path });
    stream
      .on('error', () => undefined)
      .once('close', ended)
      .once('end', () => {
        // answered before it was whole: the rest is not wanted
        if (!stream.writableEnded) stream.close(constants.NGHTTP2_CANCEL);
      })
      .resume();
    return new Upload(stream);
  }

  /** Breaks off what is under way. */
  close(): void {
    this.#session?.destroy();
    this.#session = undefined;
  }

  #connected(): ClientHttp2Session {
    const current = this.#session;
    if (current && !current.closed && !current.destroyed) return current;
    const session = connect(`http://${this.address}`);
    session.on('error', () => undefined);
    session.setTimeout(IDLE_MS, () => {
      session.close();
    });
    return (this.#session = session);
  }
}
