import { createWriteStream, openSync, renameSync, rmSync, statSync, type WriteStream } from 'node:fs';

export interface LogFileOptions {
  readonly path: string;
  /** A file that has grown past this makes room for a new one. */
  readonly maxBytes?: number;
  /** Older files kept beside it, as `PATH.1` and up. */
  readonly keep?: number;
  /** Hears once of each time in which lines are lost. */
  readonly warn: (message: string) => void;
  /** Between two attempts to open the file again. */
  readonly retryMs?: number;
}

const MIB = 2 ** 20;
/** Together 32 MiB a part: days of ordinary lines. */
const MAX_BYTES = 8 * MIB;
const KEEP = 3;
const RETRY_MS = 5_000;
/** Lines that wait for a slow disk. */
const MAX_WAITING_BYTES = MIB;

/**
 * A part's log. Writing never throws and never waits: what the disk does not take is lost with one warning, and
 * writing goes on when the disk takes lines again.
 */
export class LogFile {
  readonly #options: Required<LogFileOptions>;
  #stream: WriteStream | undefined;
  #bytes = 0;
  /** Lines lost since the disk last took one. */
  #lost = 0;
  #retryAtMs = 0;
  /** Why the file could not be opened. */
  #reason = '';
  #closed = false;

  constructor(options: LogFileOptions) {
    this.#options = { maxBytes: MAX_BYTES, keep: KEEP, retryMs: RETRY_MS, ...options };
  }

  write(line: string): void {
    if (this.#closed) return;
    const stream = this.#stream ?? this.#open();
    if (!stream || stream.writableLength > MAX_WAITING_BYTES) {
      this.#lose(stream ? 'the disk is slow or full' : this.#reason);
      return;
    }
    const lost = this.#lost;
    const text = `${lost > 0 ? `${String(lost)} lines were lost here\n` : ''}${line}\n`;
    stream.write(text, (error) => {
      if (error) this.#lose(error.message);
      else this.#lost -= lost;
    });
    this.#bytes += Buffer.byteLength(text);
    if (this.#bytes >= this.#options.maxBytes) this.#rotate();
  }

  /** Resolves when what the disk takes is there. */
  close(): Promise<void> {
    this.#closed = true;
    const stream = this.#stream;
    this.#stream = undefined;
    if (!stream || stream.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      stream.once('close', resolve);
      stream.end();
    });
  }

  /** Undefined when the file cannot be opened, and for a while after. */
  #open(): WriteStream | undefined {
    if (performance.now() < this.#retryAtMs) return undefined;
    const { path } = this.#options;
    try {
      // not left to the stream, which opens later: a rotation before that would find nothing to rename
      const stream = createWriteStream(path, { fd: openSync(path, 'a') });
      stream.on('error', () => {
        if (this.#stream === stream) this.#stream = undefined;
        this.#retryLater();
      });
      this.#bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
      this.#stream = stream;
      return stream;
    } catch (error) {
      this.#retryLater();
      this.#reason = (error as Error).message;
      return undefined;
    }
  }

  #retryLater(): void {
    this.#retryAtMs = performance.now() + this.#options.retryMs;
  }

  #lose(reason: string): void {
    if (this.#lost === 0) this.#options.warn(`log lines are lost: ${this.#options.path}: ${reason}`);
    this.#lost += 1;
  }

  /** The open stream goes on into the renamed file until all that was written is there. */
  #rotate(): void {
    const { path, keep } = this.#options;
    this.#stream?.end();
    this.#stream = undefined;
    try {
      rmSync(`${path}.${String(keep)}`, { force: true });
      for (let age = keep - 1; age >= 0; age -= 1) {
        const from = age === 0 ? path : `${path}.${String(age)}`;
        if (statSync(from, { throwIfNoEntry: false })) renameSync(from, `${path}.${String(age + 1)}`);
      }
    } catch {
      // it grows on where it is; the next rotation tries again
    }
  }
}
