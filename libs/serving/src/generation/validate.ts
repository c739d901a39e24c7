import { KvcError } from '@kvcapsule/contracts/errors';
import { cacheDomain } from '@kvcapsule/domain/identity';
import {
  answerTokens,
  checkPromptTokens,
  CLIENT_REQUEST_ID,
  DEFAULT_PRINCIPAL,
  MAX_TENANT_LENGTH,
} from '@kvcapsule/domain/request';
import { keptPicture, keptText } from '@kvcapsule/domain/scheduling';
import { z } from 'zod';

import type { EngineGeometry } from '../serving/geometry.js';
import type { GenerateRequest, GenerationPicture, GenerationSpec } from './request.js';
import { samplingSchema, toSampling } from './sampling.js';

const id = z.string().min(1).max(256);
const SHA256_BYTES = 32;
const count = z.number().int().nonnegative();

/** The wire's types are checked by protobuf already; this checks what they mean. */
const generateSchema = z.object({
  requestId: id,
  lease: z.object({ leaseId: id, pages: count }).optional(),
  clientRequestId: z.string().regex(CLIENT_REQUEST_ID).optional(),
  tokenIds: z.array(count).min(1),
  pictures: z.array(
    z.object({
      offset: count,
      length: count.min(1),
      contentSha256: z.instanceof(Uint8Array).refine(({ length }) => length === SHA256_BYTES),
    }),
  ),
  sampling: samplingSchema.optional(),
  maxTokens: count.min(1),
  stop: z.array(z.string()),
  resumedTokenIds: z.array(count),
  // what this worker cannot do is refused: an answer that leaves it out would be a wrong one
  choice: z.literal(0).optional(),
  tenant: z.string().max(MAX_TENANT_LENGTH).optional(),
  tenantWeight: z.number().min(0.001).max(1_000).optional(),
});

/** What a worker offers to requests. */
export interface Offer {
  readonly geometry: EngineGeometry;
  /** Every codec that a request may name. */
  readonly codecs: readonly string[];
  /** The codec of requests that name none. */
  readonly codec: string;
  /** What their raw text becomes before one is preempted; raw: it is never touched. */
  readonly textUnderPressure: string;
  readonly stopTokenIds: ReadonlySet<number>;
}

/** Throws `INVALID_REQUEST`, `CONTEXT_LENGTH_EXCEEDED`, `KV_CODEC_UNAVAILABLE`: a router that keeps the contract never sees them. */
export function validateGenerate(generate: GenerateRequest, offer: Offer): GenerationSpec {
  const { geometry, codec, codecs, stopTokenIds } = offer;
  const checked = generateSchema.safeParse(generate);
  if (!checked.success) {
    const { path, message } = checked.error.issues[0]!;
    throw invalid(`${path.join('.')}: ${message}`);
  }
  const { tokenIds, resumedTokenIds } = generate;
  for (const token of [tokenIds, resumedTokenIds].flat())
    if (token >= geometry.vocab) throw invalid('tokenIds: outside the vocabulary');
  checkPromptTokens(tokenIds.length, geometry.contextTokens);
  const maxTokens = answerTokens(tokenIds.length, geometry.contextTokens, generate.maxTokens);
  if (resumedTokenIds.length > maxTokens) throw invalid('resumedTokenIds: more than the answer may have');
  const kvCodec = generate.kvCodec === '' ? codec : knownCodec(generate.kvCodec, codecs);
  const text = keptText(geometry, kvCodec);
  const tenant = generate.tenant || DEFAULT_PRINCIPAL.tenant;
  return {
    requestId: generate.requestId,
    clientRequestId: generate.clientRequestId,
    text,
    // who names a codec gets it, whatever becomes of the pool
    textUnderPressure:
      text || generate.kvCodec !== '' ? undefined : keptText(geometry, offer.textUnderPressure),
    lease: generate.lease,
    promptTokenIds: tokenIds,
    resumedTokenIds,
    pictures: toPictures(generate, geometry, kvCodec),
    sampling: toSampling(generate.sampling, geometry.vocab, stopTokenIds),
    stop: generate.stop,
    maxTokens,
    priority: generate.priority,
    tenant,
    tenantWeight: generate.tenantWeight ?? DEFAULT_PRINCIPAL.weight,
    domain: cacheDomain(tenant, generate.cacheSalt),
    remainingMs: generate.remainingMs,
  };
}

function toPictures(generate: GenerateRequest, geometry: EngineGeometry, codec: string): GenerationPicture[] {
  let at = 0;
  return generate.pictures.map(({ offset, length, contentSha256, param }, index) => {
    if (offset < at || offset + length > generate.tokenIds.length) {
      throw invalid(`pictures.${index}: spans must be ascending, apart and inside the prompt`);
    }
    at = offset + length;
    const markerRows: number[] = [];
    let imageTokens = 0;
    const featureRows = Int32Array.from(generate.tokenIds.slice(offset, at), (token, row) => {
      if (token === geometry.imageTokenId) return imageTokens++;
      markerRows.push(row);
      return -1;
    });
    if (imageTokens === 0) throw invalid(`pictures.${index}: the span has no image token`);
    // who names a codec gets it, whatever becomes of the pool
    const kept = keptPicture(geometry, codec, { offset, length, markerRows }, generate.kvCodec === '');
    return { ...kept, contentSha256, param, imageTokens, featureRows };
  });
}

function knownCodec(name: string, codecs: readonly string[]): string {
  if (codecs.includes(name)) return name;
  const message = `This worker does not serve that codec; kv_codec may be ${codecs.join(', ')}.`;
  throw new KvcError('KV_CODEC_UNAVAILABLE', message, { param: 'kv_codec' });
}

function invalid(message: string): KvcError {
  return new KvcError('INVALID_REQUEST', message);
}
