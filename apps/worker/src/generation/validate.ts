import { KvcError } from '@kvcapsule/contracts/errors';
import type { SpanForm } from '@kvcapsule/domain/identity';
import { rawBlocks, storedRuns } from '@kvcapsule/domain/paging';
import { answerTokens, checkPromptTokens } from '@kvcapsule/domain/request';
import type { ScheduledPicture, TextForm } from '@kvcapsule/domain/scheduling';
import {
  chooseFormat,
  type Codec,
  type FormatChoice,
  type NativeEngineInfo,
  servedCodecs,
  type SpanShape,
} from '@kvcapsule/engine';
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
  tenant: z.literal('').optional(),
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
  const text = textForm(info, kvCodec);
  return {
    requestId: generate.requestId,
    text,
    // who names a codec gets it, whatever becomes of the pool
    textUnderPressure: text || generate.kvCodec !== '' ? undefined : textForm(info, offer.textUnderPressure),
    lease: generate.lease,
    promptTokenIds: tokenIds,
    pictures: toPictures(generate, info, kvCodec),
    sampling: toSampling(generate.sampling, info.vocab, endTokens),
    stop: generate.stop,
    maxTokens: answerTokens(tokenIds.length, info.contextTokens, generate.maxTokens),
    priority: generate.priority,
    cacheSalt: generate.cacheSalt,
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
    const span = { length, markerRows };
    const choice = chooseFormat(info, codec, span);
    // who names a codec gets it, whatever becomes of the pool
    const underPressure = generate.kvCodec === '' ? smallerCapsule(info, span, choice) : undefined;
    return {
      offset,
      length,
      encoded,
      contentSha256,
      param,
      imageTokens,
      featureRows,
      restRows: choice?.restRows ?? markerRows,
      capsule: choice && { profile: choice.format, pages: choice.pages },
      form: formOf(info, choice),
      ...(underPressure && { underPressure }),
    };
  });
}

/** How text is kept with that codec; undefined: raw. */
function textForm(info: NativeEngineInfo, codec: Codec): TextForm | undefined {
  const runs = storedRuns(info.formats, codec, info.pageBytes, info);
  if (!runs) return undefined;
  const { format: profile, pages, tokens } = runs;
  return { capsule: { profile, pages }, tokens, form: { codec, profileId: '' } };
}

/** The format that keeps a span in the fewest pages, of those fitted for it; for one that is kept in more, as rows. */
function smallerCapsule(
  info: NativeEngineInfo,
  span: SpanShape,
  choice: FormatChoice | undefined,
): ScheduledPicture['underPressure'] {
  if (choice && info.formats[choice.format]?.tokens !== 0) return undefined;
  const pagesOf = ({ pages, restRows }: FormatChoice): number =>
    pages + rawBlocks(restRows.length, info) * info.pagesPerBlock;
  const fitted = servedCodecs(info)
    .filter((codec) => codec.startsWith('capsule'))
    .flatMap((codec) => chooseFormat(info, codec, span) ?? [])
    .sort((a, b) => pagesOf(a) - pagesOf(b) || a.format - b.format);
  const [least] = fitted;
  if (!least || (choice && pagesOf(least) >= pagesOf(choice))) return undefined;
  const { format: profile, pages, restRows } = least;
  return { capsule: { profile, pages }, restRows, form: formOf(info, least) };
}

function formOf(info: NativeEngineInfo, choice: FormatChoice | undefined): SpanForm {
  const { codec = 'raw', profileId = '' } = choice ? (info.formats[choice.format] ?? {}) : {};
  return { codec, profileId };
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
