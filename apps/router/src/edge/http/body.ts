import type { IncomingMessage } from 'node:http';
import type { Readable, Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib';
import { KvcError } from '@kvcapsule/contracts/errors';
import { giveBackMemory } from '../../heap.js';
import { askForBody } from './continue.js';

export interface BodyLimits {
  /** Of the body as it is parsed, after decoding. */
  readonly maxBodyBytes: number;
  /** From the head to the last byte of the body. */
  readonly bodyTimeoutMs: number;
}

/** Beyond its first mebibyte a body may grow so many times by decoding: prose grows by 3 to 10. */
const MAX_RATIO = 200;
const MIB = 1024 * 1024;

const DECODERS: Readonly<Record<string, () => Transform>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
};

/** The decoder that a body needs; undefined for none. */
function decoderOf({ headers }: IncomingMessage): Transform | undefined {
  const encoding = headers['content-encoding']?.trim().toLowerCase() ?? '';
  if (encoding === '' || encoding === 'identity') return undefined;
  const decoder = Object.hasOwn(DECODERS, encoding) ? DECODERS[encoding] : undefined;
  if (decoder) return decoder();
  const name = /^[\w.-]{1,40}$/.test(encoding) ? `The content encoding ${encoding}` : 'This content encoding';
  const message = `${name} is not decoded: send identity, gzip, deflate, br or zstd, one of them.`;
  throw new KvcError('UNSUPPORTED_MEDIA_TYPE', message);
}

const mebibytes = (bytes: number) => (bytes % MIB === 0 ? `${bytes / MIB} MiB` : `${bytes} bytes`);

function tooLarge({ maxBodyBytes }: BodyLimits): KvcError {
  const message = `The body is larger than this server takes: at most ${mebibytes(maxBodyBytes)}, decoded.`;
  return new KvcError('REQUEST_TOO_LARGE', message);
}

function growsTooMuch(): KvcError {
  const message = `The body grows to more than ${MAX_RATIO} times its size by decoding: send it less compressed, or as it is.`;
  return new KvcError('REQUEST_TOO_LARGE', message);
}

/**
 * Reads a request's body whole, decoded by its `content-encoding`. Rejects with `REQUEST_TOO_LARGE`,
 * `UNSUPPORTED_MEDIA_TYPE`, `REQUEST_TIMEOUT`, `INVALID_REQUEST` (an encoding that is not as declared), and with
 * `ABORTED` when the client goes before the end.
 */
export async function readBody(request: IncomingMessage, limits: BodyLimits): Promise<Buffer> {
  if (Number(request.headers['content-length']) > limits.maxBodyBytes) throw tooLarge(limits);
  const decoder = decoderOf(request);
  askForBody(request);
  return new Promise((resolve, reject) => {
    const reader = new BodyReader(request, decoder, limits);
    reader.start(resolve, reject);
  });
}

class BodyReader {
  readonly #chunks: Buffer[] = [];
  /** A large body of a length that is told is put together as it comes, not in one go at its end. */
  readonly #room: Buffer | undefined;
  #bytes = 0;
  #encodedBytes = 0;
  #deadline: NodeJS.Timeout | undefined;
  #isSettled = false;

  constructor(
    private readonly request: IncomingMessage,
    private readonly decoder: Transform | undefined,
    private readonly limits: BodyLimits,
  ) {
    const length = Number(request.headers['content-length'] ?? 0);
    if (!decoder && length > MIB) this.#room = Buffer.allocUnsafeSlow(length);
  }

  start(resolve: (body: Buffer) => void, reject: (error: KvcError) => void): void {
    const { request, decoder, limits } = this;
    const fail = (error: KvcError) => this.#settle(() => reject(error));
    const gone = () => fail(new KvcError('ABORTED', 'The client went away.'));
    this.#deadline = setTimeout(() => {
      fail(new KvcError('REQUEST_TIMEOUT', `The body was not sent within ${limits.bodyTimeoutMs / 1000} s.`));
    }, limits.bodyTimeoutMs);
    // Both events: a connection that was reset while nothing was written to it only closes.
    request.once('error', gone).once('close', () => {
      if (!request.complete) gone();
    });
    const source = decoder ? this.#decoded(decoder, fail) : request;
    source
      .on('data', (chunk: Buffer) => {
        if (this.#isSettled) return;
        const fault = this.#take(chunk);
        if (fault) fail(fault);
      })
      .once('end', () => this.#settle(() => resolve(this.#whole())));
  }

  #decoded(decoder: Transform, fail: (error: KvcError) => void): Readable {
    this.request.on('data', (chunk: Buffer) => (this.#encodedBytes += chunk.length));
    decoder.once('error', () => {
      fail(new KvcError('INVALID_REQUEST', 'The body is not encoded as its content-encoding says.'));
    });
    return this.request.pipe(decoder);
  }

  /** The limit that it meets, if any. */
  #take(chunk: Buffer): KvcError | undefined {
    const { length } = chunk;
    if (this.#room) this.#copy(chunk, this.#room);
    else this.#chunks.push(chunk);
    this.#bytes += length;
    if (this.#bytes > this.limits.maxBodyBytes) return tooLarge(this.limits);
    if (!this.decoder || this.#bytes <= MIB || this.#bytes <= MAX_RATIO * this.#encodedBytes)
      return undefined;
    return growsTooMuch();
  }

  #copy(chunk: Buffer, room: Buffer): void {
    chunk.copy(room, this.#bytes);
    giveBackMemory(chunk);
  }

  #whole(): Buffer {
    if (this.#room) return this.#room;
    const [first] = this.#chunks;
    return this.#chunks.length === 1 && first ? first : Buffer.concat(this.#chunks, this.#bytes);
  }

  #settle(settle: () => void): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    clearTimeout(this.#deadline);
    settle();
    this.#chunks.length = 0;
    if (!this.decoder) return;
    this.request.unpipe(this.decoder);
    this.decoder.destroy();
  }
}
