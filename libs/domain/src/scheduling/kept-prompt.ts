import type { SpanForm } from '../identity/index.js';
import type { BlockShape } from '../paging/index.js';
import { computedTokens } from '../request/index.js';
import {
  chooseFormat,
  formOf,
  smallerCapsule,
  type SpanShape,
  type StorageOffer,
  textRuns,
} from '../storage/index.js';
import { Sequence } from './sequence/sequence.js';
import type { ScheduledPicture, ScheduledRequest, TextForm } from './step.js';

/** A picture's span as it is kept, and the form that it is named with. */
export type KeptPicture = ScheduledPicture & { readonly form: SpanForm };

/**
 * How a picture's span is kept with that codec.
 *
 * @param shrinks whether it may become a smaller capsule when pages run out; one whose codec was named may not
 */
export function keptPicture(
  offer: StorageOffer,
  codec: string,
  span: SpanShape & Pick<ScheduledPicture, 'offset'>,
  shrinks: boolean,
): KeptPicture {
  const choice = chooseFormat(offer, codec, span);
  const smaller = shrinks ? smallerCapsule(offer, span, choice) : undefined;
  return {
    offset: span.offset,
    length: span.length,
    restRows: choice?.restRows ?? span.markerRows,
    stored: choice && { format: choice.format, pages: choice.pages },
    form: formOf(offer, choice),
    ...(smaller && {
      underPressure: {
        stored: { format: smaller.format, pages: smaller.pages },
        restRows: smaller.restRows,
        form: formOf(offer, smaller),
      },
    }),
  };
}

/** How text is kept with that codec; undefined: raw. */
export function keptText(offer: StorageOffer, codec: string): TextForm | undefined {
  const runs = textRuns(offer, codec);
  if (!runs) return undefined;
  const { format, pages, tokens } = runs;
  return { stored: { format, pages }, tokens, form: { codec, profileId: '' } };
}

/** In an empty pool a stored span's tail begins a block. */
const EMPTY_POOL = { tailTakesBlock: () => true };

/**
 * Pages that a request needs in an empty pool: at the worst moment of its prompt and of what is answered already, and
 * to go on to the second token after that, if there may be one; the last token needs none. The router reserves and
 * the scheduler admits by it.
 */
export function pageDemand(
  { promptTokens, maxTokens = Infinity, answered = 0, pictures, text }: Omit<ScheduledRequest, 'id'>,
  shape: BlockShape,
): number {
  const tokens = computedTokens(promptTokens, Math.min(answered + 2, maxTokens));
  const sequence = new Sequence({ id: '', promptTokens: tokens, pictures, ...(text && { text }) }, 0, shape);
  return sequence.blocksFor(EMPTY_POOL) * shape.pagesPerBlock;
}
