import type { Generate, Sampling } from '@kvcapsule/contracts/worker';
import type { LeaseKey } from '@kvcapsule/domain/ledger';
import type { GenerationRequest } from './generation.js';
import type { PreparedPrompt } from '../prepare/prompt-preparer.port.js';

/** What a worker is asked to answer, and under which lease. */
export interface GenerateOptions {
  readonly request: GenerationRequest;
  readonly prompt: PreparedPrompt;
  readonly key: LeaseKey;
  readonly pages: number;
  /** The ledger has not heard of the lease. */
  readonly provisional: boolean;
  /** Upper bound of the answer, within the context. */
  readonly maxTokens: number;
  /** The beginning of the answer, which other workers have drawn. */
  readonly resumedTokenIds: readonly number[];
  /** How long the answer may still take. */
  readonly remainingMs: number;
  /** Of the attempt's span, where it is recorded. */
  readonly traceparent?: string | undefined;
}

/** A request as it goes over the wire; the lease's id is the request's. */
export function generateMessage(options: GenerateOptions): Generate {
  const { request, prompt, key, pages, provisional, maxTokens, resumedTokenIds, remainingMs } = options;
  const { traceparent } = options;
  return {
    requestId: key.leaseId,
    clientRequestId: request.id,
    lease: { leaseId: key.leaseId, epoch: BigInt(key.epoch), pages, provisional },
    tokenIds: [...prompt.tokenIds],
    pictures: prompt.pictures.map(({ sha256, offset, length, param }) => ({
      contentSha256: sha256,
      offset,
      length,
      param,
    })),
    sampling: samplingOf(request),
    maxTokens,
    stop: [...request.stop],
    // 0 would mean that there is no limit.
    remainingMs: BigInt(Math.max(1, Math.round(remainingMs))),
    resumedTokenIds: [...resumedTokenIds],
    priority: request.priority,
    tenant: request.principal.tenant,
    tenantWeight: request.principal.weight,
    cacheSalt: request.cacheSalt,
    kvCodec: request.kvCodec ?? '',
    traceparent,
  };
}

function samplingOf(request: GenerationRequest): Sampling {
  const { temperature, topP, topK, seed, minP, presencePenalty, frequencyPenalty } = request;
  const { repetitionPenalty, logitBias, topLogprobs, minTokens, ignoreEos } = request;
  return {
    ...{ temperature, topP, topK, seed, minP, presencePenalty, frequencyPenalty, repetitionPenalty },
    ...{ logitBias: [...logitBias], topLogprobs, minTokens, ignoreEos },
  };
}
