import { KvcError } from '@kvcapsule/contracts/errors';
import { cacheDomain } from '@kvcapsule/domain/identity';
import { answerTokens, checkPromptTokens, DEFAULT_PRINCIPAL } from '@kvcapsule/domain/request';
import { keptPicture, keptText } from '@kvcapsule/domain/scheduling';
import { type Codec, type NativeEngineInfo, servedCodecs } from '@kvcapsule/engine';
import {
  type GenerateRequest,
  type GenerationPicture,
  type GenerationSpec,
  samplingSchema,
  toSampling,
} from '@kvcapsule/serving';
import { z } from 'zod';

const id = z.string().min(1).max(256);
const SHA256_BYTES = 32;
const count = z.number().int().nonnegative();

/** The wire's types are checked by protobuf already; this checks what they mean. */
const generateSchema = z.object({
  requestId: id,
  tokenIds: z.array(count).min(1),
  pictures: z.array(
    z.object({
      offset: count,
      length: count.min(1),
      encoded: z.instanceof(Uint8Array),
      contentSha256: z.instanceof(Uint8Array).refine(({ length }) => length === SHA256_BYTES),
    }),
  ),
  sampling: samplingSchema.optional(),
  maxTokens: count.min(1),
  stop: z.array(z.string()),
  // what this worker cannot do yet is refused: an answer that leaves it out would be a wrong one
  resumedTokenIds: z.array(z.number()).max(0),
  choice: z.literal(0).optional(),
  tenant: z.string().max(256).optional(),
});

/** What a worker offers to requests. */
export interface Offer {
  readonly info: NativeEngineInfo;
  /** The codec of requests that name none. */
  readonly codec: Codec;
  /** What their raw text becomes before one is preempted. */
  readonly textUnderPressure: Codec;
  readonly endTokens: ReadonlySet<number>;
}

/** Throws `INVALID_REQUEST`, `CONTEXT_LENGTH_EXCEEDED`, `KV_CODEC_UNAVAILABLE`: a router that keeps the contract never sees them. */
export function validateGenerate(generate: GenerateRequest, offer: Offer): GenerationSpec {
  const { info, codec, endTokens } = offer;
  const checked = generateSchema.safeParse(generate);
  if (!checked.success) {
    const issue = checked.error.issues[0];
    throw invalid(`${issue?.path.join('.') ?? 'request'}: ${issue?.message ?? 'invalid'}`);
  }
  const { tokenIds } = generate;
  if (tokenIds.some((token) => token >= info.vocab)) throw invalid('tokenIds: outside the vocabulary');
  checkPromptTokens(tokenIds.length, info.contextTokens);
  const kvCodec = generate.kvCodec === '' ? codec : knownCodec(generate.kvCodec, info);
  const text = keptText(info, kvCodec);
  return {
    requestId: generate.requestId,
    text,
    // who names a codec gets it, whatever becomes of the pool
    textUnderPressure: text || generate.kvCodec !== '' ? undefined : keptText(info, offer.textUnderPressure),
    lease: generate.lease,
    promptTokenIds: tokenIds,
    pictures: toPictures(generate, info, kvCodec),
    sampling: toSampling(generate.sampling, info.vocab, endTokens),
    stop: generate.stop,
    maxTokens: answerTokens(tokenIds.length, info.contextTokens, generate.maxTokens),
    priority: generate.priority,
    domain: cacheDomain(generate.tenant || DEFAULT_PRINCIPAL.tenant, generate.cacheSalt),
    remainingMs: generate.remainingMs,
  };
}

function toPictures(generate: GenerateRequest, info: NativeEngineInfo, codec: Codec): GenerationPicture[] {
  let at = 0;
  return generate.pictures.map(({ offset, length, encoded, contentSha256, param }, index) => {
    if (offset < at || offset + length > generate.tokenIds.length) {
      throw invalid(`pictures.${index}: spans must be ascending, apart and inside the prompt`);
    }
    at = offset + length;
    const markerRows: number[] = [];
    let imageTokens = 0;
    const featureRows = Int32Array.from(generate.tokenIds.slice(offset, at), (token, row) => {
      if (token === info.imageTokenId) return imageTokens++;
      markerRows.push(row);
      return -1;
    });
    if (imageTokens === 0) throw invalid(`pictures.${index}: the span has no image token`);
    // who names a codec gets it, whatever becomes of the pool
    const kept = keptPicture(info, codec, { offset, length, markerRows }, generate.kvCodec === '');
    return { ...kept, encoded, contentSha256, param, imageTokens, featureRows };
  });
}

function knownCodec(name: string, info: NativeEngineInfo): Codec {
  const known = servedCodecs(info);
  const codec = known.find((candidate) => candidate === name);
  if (codec !== undefined) return codec;
  const message = `This worker does not serve that codec; kv_codec may be ${known.join(', ')}.`;
  throw new KvcError('KV_CODEC_UNAVAILABLE', message, { param: 'kv_codec' });
}

function invalid(message: string): KvcError {
  return new KvcError('INVALID_REQUEST', message);
}
