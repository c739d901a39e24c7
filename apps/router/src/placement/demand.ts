import {
  type Holdings,
  pagesByClass,
  type PlacementRequest,
  type WorkerView,
} from '@kvcapsule/domain/placement';
import { keptPicture, keptText, pageDemand } from '@kvcapsule/domain/scheduling';
import type { GenerationRequest } from '../generation/generation.js';
import type { PreparedPrompt } from '../prepare/prompt-preparer.port.js';
import { sessionOf } from './session.js';

/** What most answers have at most, where their bound is higher. */
const USUAL_ANSWER_TOKENS = 128;

/** What a request asks of a worker, over all its attempts. */
export interface Demand extends PlacementRequest {
  /** Processes that failed the request, by their `processOf`; grows. */
  readonly failed: Set<string>;
  /** Workers that had no room for it after all, and the state of the fleet that each refused in. */
  readonly refused: Map<string, number>;
  /** `performance.now()` of the first refusal. */
  refusedMs?: number;
  /** Those of the worker that the last attempt was at: what it began goes on alike on such a one alone. */
  prefers: PlacementRequest['prefers'];
  /** A worker is sent the prompt; the returned function is called with whether it has computed it. */
  send(worker: WorkerView): (isComputed: boolean) => void;
}

/** What is known of where a prompt's content lies, and of what its worker would give up for it. */
export interface PlacedPrompt {
  look(): Holdings;
  cacheOf: NonNullable<PlacementRequest['cacheOf']>;
  send: Demand['send'];
}

/** What of a request its placement depends on. */
export type Demanding = Pick<
  GenerationRequest,
  'model' | 'kvCodec' | 'turns' | 'principal' | 'cacheSalt' | 'sessionKey'
>;

/**
 * @param maxTokens what the answer may have at most
 * @param placed where the prompt's content lies
 */
export function demandOf(
  request: Demanding,
  prompt: PreparedPrompt,
  maxTokens: number,
  placed?: PlacedPrompt,
): Demand {
  const { model, kvCodec } = request;
  const { tokenIds, pictures } = prompt;
  return {
    modelId: model.workerModelId,
    processorRevision: model.preparer.processorRevision,
    kvCodec,
    failed: new Set(),
    refused: new Map(),
    prefers: undefined,
    promptTokens: tokenIds.length,
    pictures: pictures.length,
    pictureTokens: pictures.reduce((sum, { length, markerRows }) => sum + length - markerRows.length, 0),
    answerTokens: Math.min(maxTokens, USUAL_ANSWER_TOKENS),
    session: sessionOf(request, prompt),
    pagesOn: pagesOf(prompt, kvCodec, { maxTokens }),
    send: (worker) => placed?.send(worker) ?? (() => undefined),
    ...(placed && { holdings: () => placed.look(), cacheOf: (worker) => placed.cacheOf(worker) }),
  };
}

/** The same for an answer that has so many tokens already. */
export function goingOn(demand: Demand, prompt: PreparedPrompt, bounds: Required<AnswerBounds>): Demand {
  return { ...demand, hasBegun: true, pagesOn: pagesOf(prompt, demand.kvCodec, bounds) };
}

interface AnswerBounds {
  readonly maxTokens: number;
  readonly answered?: number;
}

function pagesOf(
  { tokenIds, pictures }: PreparedPrompt,
  kvCodec: string | undefined,
  bounds: AnswerBounds,
): PlacementRequest['pagesOn'] {
  return pagesByClass(({ record }) => {
    const codec = kvCodec ?? record.codec;
    const kept = pictures.map((span) => keptPicture(record, codec, span, false));
    const text = keptText(record, codec);
    const promptTokens = tokenIds.length;
    return pageDemand({ promptTokens, ...bounds, pictures: kept, ...(text && { text }) }, record);
  });
}
