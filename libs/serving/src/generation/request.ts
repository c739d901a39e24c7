import type { CacheDomain } from '@kvcapsule/domain/identity';
import type { KeptPicture, TextForm } from '@kvcapsule/domain/scheduling';

import type { Lease } from '../leases/lease-effects.js';
import type { RequestedPicture } from '../pictures/picture-features.js';
import type { RequestedSampling, Sampling } from './sampling.js';

/** What a request is called. */
export interface RequestIds {
  readonly requestId: string;
  /** What the client knows it by; for logs only. */
  readonly clientRequestId?: string | undefined;
}

/** What a router asks for, before anything of it is believed. */
export interface GenerateRequest extends RequestIds {
  readonly lease?: Lease | undefined;
  /** The whole prompt, pictures expanded to their marker and image tokens. */
  readonly tokenIds: readonly number[];
  readonly pictures: readonly {
    readonly contentSha256: Uint8Array;
    readonly offset: number;
    readonly length: number;
    readonly param: string;
  }[];
  readonly sampling?: RequestedSampling | undefined;
  readonly maxTokens: number;
  readonly stop: readonly string[];
  /** How long its answer may take from its arrival; absent: as long as it does. */
  readonly remainingMs?: number | undefined;
  /** Empty: the worker's default. */
  readonly kvCodec: string;
  readonly priority: number;
  readonly cacheSalt: string;
  /** The beginning of the answer, drawn elsewhere: what came with these tokens is not told again. */
  readonly resumedTokenIds: readonly number[];
  readonly choice?: number | undefined;
  readonly tenant?: string | undefined;
  readonly tenantWeight?: number | undefined;
}

export interface GenerationPicture extends KeptPicture, RequestedPicture {
  /** Per row of the span: -1 for a marker, or the row of the picture's features. */
  readonly featureRows: Int32Array;
}

/** What a valid request asks for. */
export interface GenerationSpec extends RequestIds {
  readonly lease: Lease | undefined;
  readonly promptTokenIds: readonly number[];
  /** The beginning of its answer, drawn elsewhere. */
  readonly resumedTokenIds: readonly number[];
  readonly pictures: readonly GenerationPicture[];
  readonly sampling: Sampling;
  readonly stop: readonly string[];
  /** How its text is kept, and what it may become when it is raw and pages run short. */
  readonly text: TextForm | undefined;
  readonly textUnderPressure: TextForm | undefined;
  readonly maxTokens: number;
  readonly remainingMs: number | undefined;
  /** Whose its content in the cache counts as. */
  readonly tenant: string;
  /** Of its share of the cache, beside others'. */
  readonly tenantWeight: number;
  /** Only requests with the same one share cached prefixes and features. */
  readonly domain: CacheDomain;
  /** Lower ones go first. */
  readonly priority: number;
}
