import { type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import { type Finished, FinishReason, type Generate, type Sampling } from '@kvcapsule/contracts/worker';
import type { WorkerView } from '@kvcapsule/domain/placement';
import { answerTokens, checkPromptTokens } from '@kvcapsule/domain/request';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Admission } from '../admission/admission.service.js';
import { Settings } from '../settings.js';
import { Ports } from '../ports.js';
import { type Demand, type Reservation, Reserver } from '../placement/reserver.service.js';
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

/** Everybody is one tenant. */
const DEFAULT_TENANT = 'default';

interface Job {
  readonly request: GenerationRequest;
  readonly prompt: PreparedPrompt;
  readonly demand: Demand;
  /** `performance.now()` at which nobody waits for the answer any longer. */
  readonly deadlineMs: number;
}

/** Takes a request from its messages to the last token: prepare, place, reserve, send, release. */
@Injectable()
export class GenerationService implements OnApplicationShutdown {
  constructor(
    private readonly settings: Settings,
    private readonly ports: Ports,
    private readonly fleet: Fleet,
    private readonly admission: Admission,
    private readonly reserver: Reserver,
    private readonly preparer: PromptPreparer,
  ) {}

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
    const { kvCodec } = request;
    const maxTokens = answerTokens(prompt.tokenIds.length, this.contextTokens, request.maxTokens);
    const demand = this.reserver.demand(this.settings.workerModelId, { kvCodec, maxTokens }, prompt);
    const job: Job = { request, prompt, demand, deadlineMs };
    const line = { modelId: demand.modelId, tenant: DEFAULT_TENANT };
    const reserving = {
      run: () => this.reserver.reserve(demand),
      giveBack: (won: Reservation) => void this.reserver.release(won),
    };
    for (;;) {
      const attempt = await this.admission.enter(line, reserving, deadlineMs, signal);
      const progress = { started: false };
      try {
        await this.#answer(job, attempt, watched(sink, progress), signal);
        return;
      } catch (error) {
        if (progress.started || !isWorkerFault(error)) throw error;
        demand.failed.add(attempt.record.workerId);
        if (!this.reserver.hasOthers(demand)) throw error;
      } finally {
        await this.reserver.release(attempt);
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
    checkPromptTokens(tokenIds.length, this.contextTokens);
  }

  #answer(job: Job, attempt: Reservation, sink: WorkerNews, signal: AbortSignal): Promise<void> {
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

  #message({ request, prompt, deadlineMs }: Job, { key, pages }: Reservation): Generate {
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
      maxTokens: answerTokens(prompt.tokenIds.length, this.contextTokens, request.maxTokens),
      stop: [...request.stop],
      remainingMs: BigInt(Math.max(1, Math.round(deadlineMs - performance.now()))),
      resumedTokenIds: [],
      priority: request.priority,
      cacheSalt: request.cacheSalt,
      kvCodec: request.kvCodec ?? '',
    };
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
