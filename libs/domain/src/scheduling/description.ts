import { type BlockShape, rawBlocks } from '../paging/index.js';
import type { HeldSegment } from './sequence/held.js';
import type { SpanRules } from './sequence/spans.js';
import type { TextForm } from './step.js';

/** A part of a request's prompt that is kept in one form: a picture's span, a run of text, or raw text between. */
export interface KeptSpan {
  /** Its first token; a picture's markers count where they stand. */
  readonly start: number;
  readonly tokens: number;
  /** Index of the picture whose span this is; `undefined`: text. */
  readonly picture: number | undefined;
  /** The engine's number of its format; `undefined`: raw. */
  readonly format: number | undefined;
  /** Tokens among them that stay raw beside what is in that format: a picture's markers. */
  readonly restTokens: number;
  /** All its pages, those of raw rows rounded up to whole blocks. */
  readonly pages: number;
}

/** A prompt with the rules by which it is stored at this time. */
interface Prompt extends SpanRules {
  readonly promptTokens: number;
  /** What runs of raw text that are not raw have become. */
  readonly textUnderPressure: TextForm | undefined;
  readonly held: readonly HeldSegment[];
  readonly shape: BlockShape;
}

/** How a prompt is kept, or will be once it is computed, in order and without a gap. */
export function keptSpans(prompt: Prompt): KeptSpan[] {
  return prompt.parts.flatMap(({ start, picture, length }) => {
    if (picture !== undefined) return [keptPicture(prompt, start, length, picture)];
    return keptText(prompt, start, Math.min(start + length, prompt.promptTokens));
  });
}

function keptPicture({ pictures, shape }: Prompt, start: number, tokens: number, picture: number): KeptSpan {
  const { stored, restRows = [] } = pictures[picture] ?? {};
  const restTokens = stored ? restRows.length : 0;
  const pages = (stored?.pages ?? 0) + rawPages(stored ? restTokens : tokens, shape);
  return { start, tokens, picture, format: stored?.format, restTokens, pages };
}

/** The runs that are, or will be, in another form, and the raw text between them. */
function keptText(prompt: Prompt, start: number, end: number): KeptSpan[] {
  const { text, textUnderPressure, shape } = prompt;
  const form = text ?? textUnderPressure;
  const spans: KeptSpan[] = [];
  let at = start;
  const add = (until: number, runForm?: TextForm): void => {
    if (until <= at) return;
    const pages = runForm?.stored.pages ?? rawPages(until - at, shape);
    const kept = { picture: undefined, format: runForm?.stored.format, restTokens: 0, pages };
    spans.push({ start: at, tokens: until - at, ...kept });
    at = until;
  };
  for (const first of storedRuns(prompt, start, end)) {
    add(first);
    add(first + (form?.tokens ?? 0), form);
  }
  add(end);
  return spans;
}

/** First tokens of the runs of text in `[start, end)` that are not kept raw. */
function storedRuns({ text, held }: Prompt, start: number, end: number): number[] {
  if (text) {
    const runs = Math.floor((end - start) / text.tokens);
    return Array.from({ length: runs }, (_, run) => start + run * text.tokens);
  }
  return held.flatMap((each) => {
    const isRun = each.kind === 'stored' && each.picture === undefined;
    return isRun && each.start >= start && each.start + each.tokens <= end ? [each.start] : [];
  });
}

function rawPages(tokens: number, shape: BlockShape): number {
  return rawBlocks(tokens, shape) * shape.pagesPerBlock;
}
