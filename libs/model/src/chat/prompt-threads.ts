import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, KvcError } from '@kvcapsule/contracts';
import type { AddedToken } from '../folder/tokenizer-files.js';
import type { ChatPrompt, PreparedPrompt, PromptBuilderOptions } from './prompt-builder.js';

/** What a thread makes its own builder of: plain data alone crosses to it. */
export interface PromptBuilderData extends Omit<PromptBuilderOptions, 'template' | 'tokenizer'> {
  readonly template: {
    readonly source: string;
    readonly file: string;
    readonly tokens: Readonly<Record<string, string>>;
  };
  readonly tokenizer: object;
  readonly addedTokens: readonly AddedToken[];
}

export interface PromptJob {
  readonly job: number;
  readonly prompt: Omit<ChatPrompt, 'signal'>;
}

/** An error as data: classes do not cross. */
export interface PromptFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly param: string | undefined;
}

export type PromptReply =
  | { readonly job: number; readonly prompt: PreparedPrompt }
  | { readonly job: number; readonly failure: PromptFailure };

interface Waiting {
  readonly resolve: (prompt: PreparedPrompt) => void;
  readonly reject: (error: Error) => void;
}

// The sources run under the test runner, the built files in production: the thread's file has the same ending.
const THREAD_FILE = new URL(`./prompt-thread.worker${extname(import.meta.url)}`, import.meta.url);

/** Its texts live as long as one job: more room for young objects, of which V8 takes what it may, serves nobody. */
const MAX_YOUNG_MIB = 16;

/** One slow prompt leaves the other thread to the rest. */
const THREADS = 2;

const closed = () => new KvcError('DRAINING', 'the tokenizer has been closed');

/** One thread that makes prompts; started with its first job, replaced if it dies, and no reason to stay alive. */
class PromptThread {
  #worker: Worker | undefined;
  readonly #jobs = new Map<number, Waiting>();
  #nextJob = 0;

  constructor(private readonly data: PromptBuilderData) {}

  get load(): number {
    return this.#jobs.size;
  }

  build(prompt: Omit<ChatPrompt, 'signal'>, signal?: AbortSignal): Promise<PreparedPrompt> {
    const job = this.#nextJob++;
    return new Promise<PreparedPrompt>((resolve, reject) => {
      const onAbort = () => this.#settle(job)?.reject(signal?.reason as Error);
      const unlisten = () => signal?.removeEventListener('abort', onAbort);
      this.#jobs.set(job, {
        resolve: (prepared) => (unlisten(), resolve(prepared)),
        reject: (error) => (unlisten(), reject(error)),
      });
      signal?.addEventListener('abort', onAbort, { once: true });
      const worker = this.#started();
      worker.ref();
      worker.postMessage({ job, prompt } satisfies PromptJob);
    });
  }

  async dispose(): Promise<void> {
    const worker = this.#worker;
    this.#fail(worker, closed());
    await worker?.terminate();
  }

  #started(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    const worker = new Worker(THREAD_FILE, {
      workerData: this.data,
      resourceLimits: { maxYoungGenerationSizeMb: MAX_YOUNG_MIB },
    });
    const onEnd = (cause: unknown) =>
      this.#fail(worker, new KvcError('INTERNAL', 'the tokenizer failed', { cause }));
    worker.on('message', (reply: PromptReply) => this.#answer(reply));
    worker.on('error', onEnd);
    worker.on('exit', onEnd);
    this.#worker = worker;
    return worker;
  }

  #answer(reply: PromptReply): void {
    const waiting = this.#settle(reply.job);
    if ('prompt' in reply) return waiting?.resolve(reply.prompt);
    const { code, message, param } = reply.failure;
    waiting?.reject(new KvcError(code, message, param === undefined ? {} : { param }));
  }

  #settle(id: number): Waiting | undefined {
    const waiting = this.#jobs.get(id);
    this.#jobs.delete(id);
    if (this.#jobs.size === 0) this.#worker?.unref();
    return waiting;
  }

  #fail(worker: Worker | undefined, error: KvcError): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    const jobs = [...this.#jobs.values()];
    this.#jobs.clear();
    for (const job of jobs) job.reject(error);
  }
}

/** A few threads; each job goes to the one with the fewest. */
export class PromptThreads {
  readonly #threads: readonly PromptThread[];
  #isDisposed = false;

  constructor(data: PromptBuilderData) {
    this.#threads = Array.from({ length: THREADS }, () => new PromptThread(data));
  }

  /** Rejects as `PromptBuilder.build` throws; with `signal`'s reason when that fires. */
  build({ signal, ...prompt }: ChatPrompt): Promise<PreparedPrompt> {
    if (this.#isDisposed) return Promise.reject(closed());
    const [first, ...others] = this.#threads;
    if (!first) throw new RangeError('no thread');
    return others
      .reduce((least, thread) => (thread.load < least.load ? thread : least), first)
      .build(prompt, signal);
  }

  async dispose(): Promise<void> {
    this.#isDisposed = true;
    await Promise.all(this.#threads.map((thread) => thread.dispose()));
  }
}
