import { randomUUID } from 'node:crypto';
import { type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import { type Finished, FinishReason, type Generate, type Sampling } from '@kvcapsule/contracts/worker';
import type { LeaseKey } from '@kvcapsule/domain/ledger';
import { promptPages, storedPrompt, storedRuns, storedSpan } from '@kvcapsule/domain/paging';
import { POLICIES, rank, type WorkerView } from '@kvcapsule/domain/placement';
import type { WorkerRecord } from '@kvcapsule/domain/registry';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Settings } from '../settings.js';
import { Ports } from '../ports.js';
import { AdmissionQueue } from './admission-queue.js';
import { Fleet } from '../fleet/fleet.service.js';
import {
  type GenerationRequest,
  type GenerationSink,
  type PreparedPrompt,
  PromptPreparer,
  type WorkerNews,
} from './generation.js';
import { lost } from '../fleet/worker-link.js';

/** How long an aborted request's pages may take to come free before its lease is given back anyway. */
const ABORT_GRACE_MS = 5_000;

/** Faults of the worker rather than of the request: while nothing was sent, another worker may answer. */
const WORKER_FAULTS: readonly ErrorCode[] = ['WORKER_LOST', 'STALE_EPOCH', 'NO_WORKER', 'DRAINING'];
const isWorkerFault = (error: unknown) => error instanceof KvcError && WORKER_FAULTS.includes(error.code);

/** Answers of the ledger after which nothing was set aside. */
const CERTAIN_REFUSALS: readonly ErrorCode[] = ['NO_CAPACITY', 'STALE_EPOCH', 'NO_WORKER'];

/** One try at answering a request: who is asked, under which lease. */
interface Attempt {
  readonly record: WorkerRecord;
  readonly key: LeaseKey;
  readonly pages: number;
  readonly untrack: () => void;
}

interface Job {
  readonly request: GenerationRequest;
  readonly prompt: PreparedPrompt;
  /** `performance.now()` at which nobody waits for the answer any longer. */
  readonly deadlineMs: number;
  /** Workers that failed this job. */
  readonly failed: Set<string>;
}

/** Takes a request from its messages to the last token: prepare, place, reserve, send, release. */
@Injectable()
export class GenerationService implements OnApplicationShutdown {
  readonly #queue: AdmissionQueue<Attempt>;

  constructor(
    private readonly settings: Settings,
    private readonly ports: Ports,
    private readonly fleet: Fleet,
    private readonly preparer: PromptPreparer,
  ) {
    const { queueEntries, queueWaitMs } = settings;
    this.#queue = new AdmissionQueue(
      { entries: queueEntries, waitMs: queueWaitMs },
      (won) => void this.#release(won),
    );
    fleet.onRefresh(() => {
      this.#queue.nudge();
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all([this.preparer.close(), this.ports.close()]);
  }

  /** Prompt and answer together, in tokens: what the model allows and every worker can hold. */
  get contextTokens(): number {
    return Math.min(
      this.preparer.contextTokens,
      ...this.#workers().map(({ record }) => record.contextTokens),
    );
  }

  /** Every codec that some worker serves, in order of their names; none while there is no worker. */
  get kvCodecs(): string[] {
    return [...new Set(this.#workers().flatMap(({ record }) => record.codecs))].sort();
  }

  /**
   * Feeds the sink until the answer is complete. Rejects with a `KvcError`: before `sink.started` nothing was
   * sent, after it the answer is cut. When the signal fires it rejects with the signal's reason.
   */
  async run(request: GenerationRequest, sink: GenerationSink, signal: AbortSignal): Promise<void> {
    this.#checkCodec(request);
    const prompt = await this.preparer.prepare(request.turns, signal);
    this.#checkContext(prompt);
    const deadlineMs = performance.now() + this.settings.requestTimeoutMs;
    sink.queued();
    const job: Job = { request, prompt, deadlineMs, failed: new Set() };
    for (;;) {
      const attempt = await this.#queue.enter(() => this.#reserve(job), signal);
      const progress = { started: false };
      try {
        await this.#answer(job, attempt, watched(sink, progress), signal);
        return;
      } catch (error) {
        if (progress.started || !isWorkerFault(error)) throw error;
        job.failed.add(attempt.record.workerId);
        if (!this.#hasOthers(job)) throw error;
      } finally {
        await this.#release(attempt);
      }
    }
  }

  #workers(): WorkerView[] {
    return this.fleet.views().filter(({ record }) => record.modelId === this.settings.workerModelId);
  }

  /** A codec that no worker serves is the request's fault; while there is no worker at all, nobody can say. */
  #checkCodec({ kvCodec }: GenerationRequest): void {
    const known = this.kvCodecs;
    if (kvCodec === undefined || known.length === 0 || known.includes(kvCodec)) return;
    const message = `No worker serves that codec; kv_codec may be ${known.join(', ')}.`;
    throw new KvcError('KV_CODEC_UNAVAILABLE', message, { param: 'kv_codec' });
  }

  #checkContext({ tokenIds }: PreparedPrompt): void {
    const context = this.contextTokens;
    if (tokenIds.length <= context) return;
    const message = `The prompt has ${tokenIds.length} tokens; the context holds ${context}.`;
    throw new KvcError('CONTEXT_LENGTH_EXCEEDED', message, { param: 'messages' });
  }

  /** The prompt's peak, and a block for the answer to begin with. */
  #pagesOn({ request, prompt }: Job, record: WorkerRecord): number {
    const { blockTokens, pagesPerBlock, pageBytes, formats } = record;
    const codec = request.kvCodec ?? record.codec;
    const pictures = prompt.pictures.map((span) => ({
      ...span,
      stored: storedSpan(formats, codec, span, pageBytes),
    }));
    const shape = { blockTokens, pagesPerBlock };
    const runs = storedRuns(formats, codec, pageBytes, shape);
    return promptPages(storedPrompt(prompt.tokenIds.length, pictures, runs), shape).peakPages + pagesPerBlock;
  }

  #hasOthers(job: Job): boolean {
    return this.fleet
      .views()
      .some(({ record }) => record.load.state === 'ready' && !job.failed.has(record.workerId));
  }

  /** The best worker with room, its pages set aside; undefined while all are full. */
  async #reserve(job: Job): Promise<Attempt | undefined> {
    const views = this.fleet.views().filter(({ record }) => !job.failed.has(record.workerId));
    const pagesOn = (record: WorkerRecord) => this.#pagesOn(job, record);
    const { kvCodec } = job.request;
    const ranked = rank({ modelId: this.settings.workerModelId, kvCodec, pagesOn }, views, POLICIES);
    if (ranked.length === 0) throw this.#noPlace(job);
    for (const { worker } of ranked) {
      const { record } = worker;
      const key = { workerId: record.workerId, epoch: record.epoch, leaseId: randomUUID() };
      const pages = pagesOn(record);
      if (await this.#setAside(key, pages)) {
        return { record, key, pages, untrack: this.fleet.track(record.workerId, pages) };
      }
    }
    return undefined;
  }

  async #setAside(key: LeaseKey, pages: number): Promise<boolean> {
    try {
      await this.ports.ledger.reserve(key, pages);
      return true;
    } catch (error) {
      // The snapshot may be older than the ledger: the next refresh shows the worker's new epoch or its absence.
      if (error instanceof KvcError && CERTAIN_REFUSALS.includes(error.code)) return false;
      // It may have been written although no answer came back.
      void this.#giveBack(key);
      throw error;
    }
  }

  #noPlace(job: Job): KvcError {
    const { kvCodec } = job.request;
    const ready = this.#workers()
      .filter(({ record }) => record.load.state === 'ready')
      .filter(({ record }) => kvCodec === undefined || record.codecs.includes(kvCodec))
      .filter(({ record }) => !job.failed.has(record.workerId));
    if (ready.length === 0) return new KvcError('NO_WORKER', 'No worker is ready.', { retryAfterMs: 2_000 });
    const needed = Math.min(...ready.map(({ record }) => this.#pagesOn(job, record)));
    const largest = Math.max(...ready.map(({ record }) => record.capacityPages));
    const message = `The prompt needs ${needed} KV pages; the largest worker has ${largest}.`;
    return new KvcError('KV_CAPACITY_EXCEEDED', message, { param: 'messages' });
  }

  #answer(job: Job, attempt: Attempt, sink: WorkerNews, signal: AbortSignal): Promise<void> {
    const link = this.fleet.link(attempt.record);
    const requestId = attempt.key.leaseId;
    return new Promise<void>((resolve, reject) => {
      let grace: NodeJS.Timeout | undefined;
      const onAbort = () => {
        link.abort(requestId);
        grace = setTimeout(() => {
          link.forget(requestId);
          leave(() => reject(signal.reason as Error));
        }, ABORT_GRACE_MS);
      };
      const leave = (settle: () => void) => {
        clearTimeout(grace);
        signal.removeEventListener('abort', onAbort);
        settle();
      };
      const finished = (news: Finished) => {
        if (news.reason === FinishReason.FINISH_REASON_ABORT) return failed(lost('The worker stopped.'));
        if (!signal.aborted) sink.finished(news);
        leave(resolve);
      };
      const failed = (error: KvcError) => {
        leave(() => reject(signal.aborted ? (signal.reason as Error) : error));
      };
      signal.throwIfAborted();
      signal.addEventListener('abort', onAbort);
      link.generate(this.#message(job, attempt), {
        started: (news) => {
          if (!signal.aborted) sink.started(news);
        },
        delta: (text, logprobs) => {
          if (!signal.aborted) sink.delta(text, logprobs);
        },
        finished,
        failed,
      });
    });
  }

  #message({ request, prompt, deadlineMs }: Job, { key, pages }: Attempt): Generate {
    // The last token that is made needs no room of its own: nothing comes after it.
    const room = this.contextTokens - prompt.tokenIds.length + 1;
    return {
      requestId: key.leaseId,
      lease: { leaseId: key.leaseId, epoch: BigInt(key.epoch), pages },
      tokenIds: [...prompt.tokenIds],
      pictures: prompt.pictures.map(({ sha256, encoded, offset, length, param }) => ({
        contentSha256: sha256,
        encoded,
        offset,
        length,
        param,
      })),
      sampling: samplingOf(request),
      maxTokens: Math.min(request.maxTokens ?? room, room),
      stop: [...request.stop],
      remainingMs: BigInt(Math.max(1, Math.round(deadlineMs - performance.now()))),
      resumedTokenIds: [],
      priority: request.priority,
      cacheSalt: request.cacheSalt,
      kvCodec: request.kvCodec ?? '',
    };
  }

  async #release({ key, untrack }: Attempt): Promise<void> {
    untrack();
    await this.#giveBack(key);
    this.#queue.nudge();
  }

  /** Never rejects: a lease that cannot be given back now runs out, or is swept with its worker. */
  async #giveBack(key: LeaseKey): Promise<void> {
    try {
      await this.ports.ledger.release(key);
    } catch {
      // Redis is away; readiness shows it.
    }
  }
}

function samplingOf(request: GenerationRequest): Sampling {
  const { temperature, topP, topK, seed, minP, presencePenalty, frequencyPenalty } = request;
  const { repetitionPenalty, logitBias, topLogprobs, minTokens, ignoreEos } = request;
  return {
    ...{ temperature, topP, topK, seed, minP, presencePenalty, frequencyPenalty, repetitionPenalty },
    ...{ logitBias: [...logitBias], topLogprobs, minTokens, ignoreEos },
  };
}

/** Notes whether the answer has begun, after which no other worker may be asked. */
function watched(sink: WorkerNews, progress: { started: boolean }): WorkerNews {
  return {
    started: (news) => {
      progress.started = true;
      sink.started(news);
    },
    delta: (text, logprobs) => {
      sink.delta(text, logprobs);
    },
    finished: (news) => {
      sink.finished(news);
    },
  };
}
