import type { Span } from '@kvcapsule/platform/tracing';
import type { Principal } from '@kvcapsule/domain/request';
import type { ServedModel } from '../catalogue/model-catalogue.js';
import type { ChatTurn } from '../prepare/prompt-preparer.port.js';

/** What the edge makes of a body. Nothing after it sees HTTP. */
export interface GenerationRequest {
  /** What its client knows it by; for logs, two requests may have the same. */
  readonly id: string;
  readonly model: ServedModel;
  /** Where it is recorded what happens to it; most are not. */
  readonly span?: Span | undefined;
  /** Who asks. */
  readonly principal: Principal;
  readonly turns: readonly ChatTurn[];
  /** Upper bound of new tokens; undefined means up to the context's end. */
  readonly maxTokens: number | undefined;
  readonly stop: readonly string[];
  /** 0 is greedy. */
  readonly temperature: number;
  readonly topP: number;
  /** 0 is off. */
  readonly topK: number;
  readonly seed: bigint;
  readonly minP: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  /** 1 is off. */
  readonly repetitionPenalty: number;
  /** Added to the logits of tokens, each at most once. */
  readonly logitBias: readonly { readonly tokenId: number; readonly bias: number }[];
  /** Log-probabilities are wanted, and of so many of the likeliest tokens. */
  readonly topLogprobs: number | undefined;
  readonly minTokens: number;
  readonly ignoreEos: boolean;
  /** Only requests with the same salt share cached prefixes; empty: none. */
  readonly cacheSalt: string;
  /** The client's own word for requests that begin alike. */
  readonly sessionKey: string | undefined;
  /** Lower ones go first on their worker. */
  readonly priority: number;
  /** How KV is kept; undefined leaves it to the worker. */
  readonly kvCodec: string | undefined;
}
