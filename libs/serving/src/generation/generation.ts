import type { ContentOwner } from '@kvcapsule/domain/eviction';
import type { CacheDomain } from '@kvcapsule/domain/identity';

import type { Features } from '../pictures/encoder-cache.js';
import type { PictureUser } from '../pictures/picture-features.js';
import type { GenerationPicture, GenerationSpec, RequestIds } from './request.js';
import type { SampledToken, StreamedToken, TextStream } from './text-stream.js';
import { TokenCounts } from './token-counts.js';

/** How an answer ends with its newest token. */
export interface Ending {
  readonly reason: 'stop' | 'length';
  /** Text that was held back belongs to the answer. */
  readonly flush: boolean;
}

/** What the newest token of an answer has brought. */
export interface AcceptedToken extends Omit<StreamedToken, 'stopped'> {
  readonly ending: Ending | undefined;
}

/** One request from its arrival to its last event. */
export class Generation implements PictureUser {
  /** Prompt and answer so far. */
  readonly tokenIds: number[];
  /** What its penalties count; undefined without penalties. */
  readonly penalised: TokenCounts | undefined;
  readonly features = new Map<number, Features>();
  /** Tokens of the prompt that its admission found in the prefix cache. */
  cachedTokens = 0;
  /** Tokens of prompt and answer that the engine has computed, those found in the cache included. */
  computedTokens = 0;
  /** A step has taken some of it. */
  scheduled = false;
  started = false;
  ended = false;

  constructor(
    /** Never given twice. */
    readonly id: string,
    /** What its sender calls it; free again when it has ended. */
    readonly key: string,
    readonly spec: GenerationSpec,
    readonly text: TextStream,
  ) {
    this.tokenIds = [...spec.promptTokenIds];
    const { presencePenalty, frequencyPenalty, repetitionPenalty } = spec.sampling;
    if (presencePenalty !== 0 || frequencyPenalty !== 0 || repetitionPenalty !== 1) {
      this.penalised = new TokenCounts(repetitionPenalty === 1 ? [] : spec.promptTokenIds);
    }
  }

  get pictures(): readonly GenerationPicture[] {
    return this.spec.pictures;
  }

  /** Whose what it leaves in caches counts as. */
  get owner(): ContentOwner {
    return { tenant: this.spec.tenant, weight: this.spec.tenantWeight };
  }

  get domain(): CacheDomain {
    return this.spec.domain;
  }

  get ids(): RequestIds {
    const { requestId, clientRequestId } = this.spec;
    return { requestId, clientRequestId };
  }

  get promptTokens(): number {
    return this.spec.promptTokenIds.length;
  }

  get completionTokens(): number {
    return this.tokenIds.length - this.promptTokens;
  }

  /** Takes a new token of the answer in. */
  accept(token: SampledToken, endTokens: ReadonlySet<number>): AcceptedToken {
    const { tokenId } = token;
    const { sampling, maxTokens } = this.spec;
    this.tokenIds.push(tokenId);
    this.penalised?.add(tokenId);
    if (!sampling.ignoreEos && endTokens.has(tokenId))
      return { text: '', logprobs: [], ending: { reason: 'stop', flush: true } };
    const { stopped, ...said } = this.text.push(token);
    if (stopped) return { ...said, ending: { reason: 'stop', flush: false } };
    const ending =
      this.completionTokens < maxTokens ? undefined : ({ reason: 'length', flush: true } as const);
    return { ...said, ending };
  }

  /** Takes the beginning of the answer in that was drawn elsewhere. Returns how it ends, where it has ended by then. */
  resume(endTokens: ReadonlySet<number>): Ending | undefined {
    for (const tokenId of this.spec.resumedTokenIds) {
      const { ending } = this.accept({ tokenId }, endTokens);
      if (ending) return ending;
    }
    return undefined;
  }
}
