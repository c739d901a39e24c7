import { type BlockShape, rawBlocks } from '../../paging/index.js';
import type { ScheduledPicture, TextForm } from '../step.js';
import { type HeldRaw, type HeldSegment, pageCount } from './held.js';
import type { PageSource } from './page-source.js';
import type { Progress } from './progress.js';
import type { SequenceTable } from './table.js';

type Pressure = NonNullable<ScheduledPicture['underPressure']>;

/** A picture that may become smaller, and the segment of the table that it is. */
export interface PressablePicture {
  readonly at: number;
  readonly picture: number;
  readonly pressure: Pressure;
}

/** The first picture that may become smaller under pressure. */
export function pressablePicture(progress: Progress, table: SequenceTable): PressablePicture | undefined {
  for (const [at, each] of table.segments.entries()) {
    const { picture = -1 } = each;
    const { stored, underPressure: pressure, length } = progress.pictures[picture] ?? {};
    // a span that is not yet in the form it was admitted for is compressed to that one first
    const inForm = each.tokens === length && (each.kind === 'stored') === (stored !== undefined);
    if (pressure && inForm && isSmaller(pressure, each, progress.shape)) return { at, picture, pressure };
  }
  return undefined;
}

/** What a sequence's text may become under pressure, while it is raw. */
export function pressableText({ text, request }: Progress): TextForm | undefined {
  return text ? undefined : request.textUnderPressure;
}

/** The first run of text whose compression gives pages back: its segment, and its first token there. */
export function pressableRun(
  progress: Progress,
  table: SequenceTable,
  source: PageSource,
): { readonly at: number; readonly offset: number } | undefined {
  const form = pressableText(progress);
  if (!form) return undefined;
  for (const [at, each] of table.segments.entries()) {
    if (each.kind !== 'raw' || each.picture !== undefined) continue;
    for (let offset = 0; offset + form.tokens <= each.tokens; offset += form.tokens)
      if (givesBack(each, offset, form, progress.shape, source)) return { at, offset };
  }
  return undefined;
}

function givesBack(
  { blocks }: HeldRaw,
  offset: number,
  { tokens, stored }: TextForm,
  { blockTokens, pagesPerBlock }: BlockShape,
  source: PageSource,
): boolean {
  const end = (offset + tokens) / blockTokens;
  let own = 0;
  for (let at = offset / blockTokens; at < end; at += 1)
    if (source.ownedAlone((blocks[at] ?? 0) * pagesPerBlock)) own += 1;
  return own * pagesPerBlock > stored.pages;
}

/** Whether a picture would take fewer pages in that form than it holds. */
function isSmaller({ stored, restRows }: Pressure, held: HeldSegment, shape: BlockShape): boolean {
  const pages = stored.pages + rawBlocks(restRows.length, shape) * shape.pagesPerBlock;
  return pages < pageCount(held, shape);
}
