import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { KvcError } from '@kvcapsule/contracts/errors';

export interface ParseJob {
  readonly job: number;
  readonly text: Uint8Array;
}

export type Verdict =
  | { readonly value: unknown }
  | { readonly refused: 'utf8' | 'json' }
  | { readonly refused: 'values'; readonly maxValues: number; readonly param: string | undefined };

export type ParseReply = { readonly job: number; readonly verdict: Verdict };

interface Waiting {
  readonly text: Uint8Array;
  readonly resolve: (verdict: Verdict) => void;
  readonly reject: (error: KvcError) => void;
}

// The sources run under the test runner, the built files in production: the thread's file has the same ending.
const THREAD_FILE = new URL(`./json-thread.worker${extname(import.meta.url)}`, import.meta.url);

/** Sixteen mebibytes of nothing but empty objects take a third of it. */
const MAX_OLD_MIB = 1024;

/** One thread that parses; started with its first job, replaced if it dies, and no reason to stay alive. */
export class JsonThread {
  #worker: Worker | undefined;
  /** In the order in which they came; the thread has the one that runs. */
  readonly #jobs = new Map<number, Waiting>();
  #running: number | undefined;
  #nextJob = 0;

  /** @param waitMs the longest that a body waits for those before it, and is parsed */
  constructor(private readonly waitMs: number) {}

  /** Rejects with `NO_CAPACITY` after the longest wait. */
  parse(text: Uint8Array): Promise<Verdict> {
    const job = this.#nextJob++;
    let timer: NodeJS.Timeout;
    return new Promise<Verdict>((resolve, reject) => {
      this.#jobs.set(job, { text, resolve, reject });
      timer = setTimeout(() => {
        this.#jobs.delete(job);
        reject(tooLate(this.waitMs));
        if (job === this.#running) this.#replace();
      }, this.waitMs);
      this.#runNext();
    }).finally(() => {
      clearTimeout(timer);
    });
  }

  async dispose(): Promise<void> {
    const worker = this.#worker;
    this.#fail(worker, new KvcError('DRAINING', 'The server is shutting down.'));
    await worker?.terminate();
  }

  #runNext(): void {
    const [next] = this.#jobs;
    if (this.#running !== undefined || !next) return;
    const [job, { text }] = next;
    this.#running = job;
    const worker = this.#started();
    worker.ref();
    worker.postMessage({ job, text } satisfies ParseJob);
  }

  /** Ends a thread that has not come back, and goes on with the others in another one. */
  #replace(): void {
    const worker = this.#worker;
    this.#worker = this.#running = undefined;
    void worker?.terminate();
    this.#runNext();
  }

  #started(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    const worker = new Worker(THREAD_FILE, { resourceLimits: { maxOldGenerationSizeMb: MAX_OLD_MIB } });
    const tooMuch = () => this.#fail(worker, new KvcError('REQUEST_TOO_LARGE', 'The body holds too much.'));
    worker.on('message', ({ job, verdict }: ParseReply) => {
      if (this.#worker !== worker) return;
      const waiting = this.#jobs.get(job);
      this.#jobs.delete(job);
      this.#running = undefined;
      this.#runNext();
      if (this.#running === undefined) worker.unref();
      waiting?.resolve(verdict);
    });
    worker.on('error', tooMuch);
    worker.on('exit', tooMuch);
    this.#worker = worker;
    return worker;
  }

  #fail(worker: Worker | undefined, error: KvcError): void {
    if (this.#worker !== worker) return;
    this.#worker = this.#running = undefined;
    const jobs = [...this.#jobs.values()];
    this.#jobs.clear();
    for (const job of jobs) job.reject(error);
  }
}

function tooLate(waitMs: number): KvcError {
  const message = `The router did not get round to reading this body within ${waitMs / 1_000} s.`;
  return new KvcError('NO_CAPACITY', message, { retryAfterMs: 1_000 });
}
