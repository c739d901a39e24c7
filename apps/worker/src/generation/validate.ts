import { KvcError } from '@kvcapsule/contracts/errors';
import type { Generate } from '@kvcapsule/contracts/worker';
import type { FormatChoice, NativeEngineInfo, SpanShape } from '@kvcapsule/engine';
import { z } from 'zod';

import type { GenerationPicture, GenerationSpec } from './generation.js';
import { samplingSchema, toSampling } from './sampling.js';

const id = z.string().min(1).max(256);
const count = z.number().int().nonnegative();

/** The wire's types are checked by protobuf already; this checks what they mean. */
const generateSchema = z.object({
  requestId: id,
  tokenIds: z.array(count).min(1),
  pictures: z.array(z.object({ offset: count, length: count.min(1), encoded: z.instanceof(Uint8Array) })),
  sampling: samplingSchema.optional(),
  maxTokens: count.min(1),
  stop: z.array(z.string()),
});

/** Whether a span is compressed, and in which of the engine's formats. */
export type SpanFormatChoice = (span: SpanShape) => FormatChoice | undefined;

/** Throws `INVALID_REQUEST`, `CONTEXT_LENGTH_EXCEEDED`: a router that keeps the contract never sees them. */
export function validateGenerate(
  generate: Generate,
  info: NativeEngineInfo,
  chooseSpanFormat: SpanFormatChoice,
  endTokens: ReadonlySet<number>,
): GenerationSpec {
  const checked = generateSchema.safeParse(generate);
  if (!checked.success) {
    const issue = checked.error.issues[0];
    throw invalid(`${issue?.path.join('.') ?? 'request'}: ${issue?.message ?? 'invalid'}`);
  }
  const { tokenIds } = generate;
  if (tokenIds.some((token) => token >= info.vocab)) throw invalid('tokenIds: outside the vocabulary');
  if (tokenIds.length >= info.contextTokens) {
    const message = `The prompt has ${tokenIds.length} tokens; the context holds ${info.contextTokens}.`;
    throw new KvcError('CONTEXT_LENGTH_EXCEEDED', message);
  }
  return {
    requestId: generate.requestId,
    lease: generate.lease?.leaseId ? generate.lease : undefined,
    promptTokenIds: tokenIds,
    pictures: toPictures(generate, info.imageTokenId, chooseSpanFormat),
    sampling: toSampling(generate.sampling, info.vocab, endTokens),
    maxTokens: Math.min(generate.maxTokens, info.contextTokens - tokenIds.length),
    priority: generate.priority,
    deadlineUnixMs: generate.deadlineUnixMs > 0n ? Number(generate.deadlineUnixMs) : undefined,
  };
}

function toPictures(
  generate: Generate,
  imageTokenId: number,
  chooseSpanFormat: SpanFormatChoice,
): GenerationPicture[] {
  let at = 0;
  return generate.pictures.map(({ offset, length, encoded, param }, index) => {
    if (offset < at || offset + length > generate.tokenIds.length) {
      throw invalid(`pictures.${index}: spans must be ascending, apart and inside the prompt`);
    }
    at = offset + length;
    const markerRows: number[] = [];
    let imageTokens = 0;
    const featureRows = Int32Array.from(generate.tokenIds.slice(offset, at), (token, row) => {
      if (token === imageTokenId) return imageTokens++;
      markerRows.push(row);
      return -1;
    });
    if (imageTokens === 0) throw invalid(`pictures.${index}: the span has no image token`);
    const choice = chooseSpanFormat({ length, markerRows });
    return {
      offset,
      length,
      encoded,
      param,
      imageTokens,
      featureRows,
      restRows: choice?.restRows ?? markerRows,
      capsule: choice && { profile: choice.format, pages: choice.pages },
    };
  });
}

function invalid(message: string): KvcError {
  return new KvcError('INVALID_REQUEST', message);
}
