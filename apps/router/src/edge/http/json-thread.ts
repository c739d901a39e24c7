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
  readonly #jobs = new Map<number, Waiting>();
  #nextJob = 0;

  parse(text: Uint8Array): Promise<Verdict> {
    const job = this.#nextJob++;
    return new Promise((resolve, reject) => {
      this.#jobs.set(job, { resolve, reject });
      const worker = this.#started();
      worker.ref();
      worker.postMessage({ job, text } satisfies ParseJob);
    });
  }

  async dispose(): Promise<void> {
    const worker = this.#worker;
    this.#fail(worker, new KvcError('DRAINING', 'The server is shutting down.'));
    await worker?.terminate();
  }

  #started(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    const worker = new Worker(THREAD_FILE, { resourceLimits: { maxOldGenerationSizeMb: MAX_OLD_MIB } });
    const tooMuch = () => this.#fail(worker, new KvcError('REQUEST_TOO_LARGE', 'The body holds too much.'));
    worker.on('message', ({ job, verdict }: ParseReply) => {
      const waiting = this.#jobs.get(job);
      this.#jobs.delete(job);
      if (this.#jobs.size === 0) worker.unref();
      waiting?.resolve(verdict);
    });
    worker.on('error', tooMuch);
    worker.on('exit', tooMuch);
    this.#worker = worker;
    return worker;
  }

  #fail(worker: Worker | undefined, error: KvcError): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    const jobs = [...this.#jobs.values()];
    this.#jobs.clear();
    for (const job of jobs) job.reject(error);
  }
}
