import type { Principal } from '@kvcapsule/domain/request';
import type { ServedModel } from '../catalogue/model-catalogue.js';

/** A picture as the client gave it: a data URI, as text or as the bytes it came in, or an http(s) URL. */
export interface PictureSource {
  readonly url: string | Buffer;
  /** The content part it came from, such as `messages.0.content.1`. */
  readonly param: string;
}

export interface ChatTurn {
  readonly role: 'system' | 'user' | 'assistant';
  /** Texts and pictures in the order of their parts. */
  readonly content: readonly (string | PictureSource)[];
}

/** What the edge makes of a body. Nothing after it sees HTTP. */
export interface GenerationRequest {
  readonly model: ServedModel;
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
  /** Lower ones go first on their worker. */
  readonly priority: number;
  /** How KV is kept; undefined leaves it to the worker. */
  readonly kvCodec: string | undefined;
}

/** One picture's place in the prompt, markers included: `[offset, offset + length)`. */
export interface PromptPicture {
  readonly sha256: Buffer;
  readonly encoded: Buffer;
  readonly offset: number;
  readonly length: number;
  /** Rows of the span that are markers, ascending; the others are the picture's own. */
  readonly markerRows: readonly number[];
  readonly param: string;
}

export interface PreparedPrompt {
  readonly tokenIds: readonly number[];
  readonly pictures: readonly PromptPicture[];
}

/** Renders, fetches, inspects and tokenises; rejects with the error the client is to see. */
export abstract class PromptPreparer {
  abstract readonly contextTokens: number;
  /** Of the tokenizer, the template and the rules for pictures: workers with another one see other tokens. */
  abstract readonly processorRevision: string;
  abstract prepare(turns: readonly ChatTurn[], signal: AbortSignal): Promise<PreparedPrompt>;
  /** Called once, when nothing is prepared any longer. */
  abstract close(): Promise<void>;
}
