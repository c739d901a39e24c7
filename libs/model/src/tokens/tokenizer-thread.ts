import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { KvcError } from '@kvcapsule/contracts';
import type { TokenizerFile } from '../folder/config-files.js';

interface Job {
  readonly resolve: (ids: number[][]) => void;
  readonly reject: (error: Error) => void;
}

type Reply =
  { readonly job: number; readonly ids: number[][] } | { readonly job: number; readonly failed: true };

// The sources run under the test runner, the built files in production: the thread's file has the same ending.
const THREAD_FILE = new URL(`./tokenizer-thread.worker${extname(import.meta.url)}`, import.meta.url);

/** Its texts live as long as one job: more room for young objects, of which V8 takes what it may, serves nobody. */
const MAX_YOUNG_MIB = 16;

/** One thread that tokenises; started with the first job, replaced if it dies, and no reason to stay alive. */
export class TokenizerThread {
  #worker: Worker | undefined;
  readonly #jobs = new Map<number, Job>();
  #nextJob = 0;
  #isDisposed = false;

  constructor(private readonly tokenizer: TokenizerFile) {}

  encode(texts: readonly string[], signal?: AbortSignal): Promise<number[][]> {
    if (this.#isDisposed) return Promise.reject(new KvcError('DRAINING', 'the tokenizer has been closed'));
    const job = this.#nextJob++;
    return new Promise<number[][]>((resolve, reject) => {
      const onAbort = () => this.#settle(job)?.reject(signal?.reason as Error);
      const unlisten = () => signal?.removeEventListener('abort', onAbort);
      this.#jobs.set(job, {
        resolve: (ids) => (unlisten(), resolve(ids)),
        reject: (error) => (unlisten(), reject(error)),
      });
      signal?.addEventListener('abort', onAbort, { once: true });
      const worker = this.#started();
      worker.ref();
      worker.postMessage({ job, texts });
    });
  }

  async dispose(): Promise<void> {
    this.#isDisposed = true;
    const worker = this.#worker;
    this.#fail(worker, new KvcError('DRAINING', 'the tokenizer has been closed'));
    await worker?.terminate();
  }

  #started(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    const worker = new Worker(THREAD_FILE, {
      workerData: this.tokenizer,
      resourceLimits: { maxYoungGenerationSizeMb: MAX_YOUNG_MIB },
    });
    const onEnd = (cause: unknown) =>
      this.#fail(worker, new KvcError('INTERNAL', 'the tokenizer failed', { cause }));
    worker.on('message', (reply: Reply) => this.#answer(reply));
    worker.on('error', onEnd);
    worker.on('exit', onEnd);
    this.#worker = worker;
    return worker;
  }

  #answer(reply: Reply): void {
    const job = this.#settle(reply.job);
    if ('ids' in reply) job?.resolve(reply.ids);
    else job?.reject(new KvcError('INTERNAL', 'the tokenizer failed'));
  }

  #settle(id: number): Job | undefined {
    const job = this.#jobs.get(id);
    this.#jobs.delete(id);
    if (this.#jobs.size === 0) this.#worker?.unref();
    return job;
  }

  #fail(worker: Worker | undefined, error: KvcError): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    const jobs = [...this.#jobs.values()];
    this.#jobs.clear();
    for (const job of jobs) job.reject(error);
  }
}
