import fc from 'fast-check';

import { cacheDomain, rootName } from '../identity/index.js';
import type { ScheduledPicture, ScheduledRequest, TextForm } from '../scheduling/index.js';

/** What names of content begin with. */
export const ROOT = rootName({
  ...{ modelRevision: 'm', precision: 'f16', imageProcessor: 'p' },
  ...{ arithmetic: 'a', domain: cacheDomain('t', '') },
});

/** A request, and what becomes of it. */
export interface Script {
  readonly request: ScheduledRequest;
  readonly tokenIds: readonly number[];
  readonly arriveAt: number;
  readonly answerTokens: number;
  readonly abortAt: number | undefined;
}

/** Every other row of a span, for its rest rows. */
export const everyOther = (count: number): number[] => Array.from({ length: count }, (_, index) => index * 2);

export function picture(
  offset: number,
  length: number,
  markers: number,
  pages: number | undefined,
): ScheduledPicture {
  const stored = pages === undefined ? undefined : { format: 0, pages };
  return { offset, length, restRows: everyOther(markers), stored };
}

const textForm = (codec: string, format: number, tokens: number, pages: number): TextForm => ({
  stored: { format, pages },
  tokens,
  form: { codec, profileId: '' },
});

const TEXTS = {
  raw: {},
  q8: { text: textForm('q8', 1, 32, 9) },
  q4: { text: textForm('q4', 2, 48, 7) },
  pressed: { textUnderPressure: textForm('q8', 1, 32, 9) },
};

/** Few documents, pictures and lengths, so that requests begin alike. */
export const requestShape = fc.record({
  document: fc.nat(1),
  fork: fc.integer({ min: 0, max: 90 }),
  parts: fc.array(
    fc.record({
      text: fc.constantFrom(0, 5, 16, 21),
      markers: fc.constantFrom(0, 3),
      covered: fc.constantFrom(20, 44),
      shows: fc.nat(1),
      kept: fc.constantFrom('raw', 'capsule', 'pressed', 'rows', 'pressed rows'),
    }),
    { maxLength: 2 },
  ),
  tail: fc.integer({ min: 0, max: 40 }),
  text: fc.constantFrom<keyof typeof TEXTS>('raw', 'raw', 'q8', 'q4', 'pressed'),
  named: fc.boolean(),
  bounded: fc.boolean(),
  priority: fc.integer({ min: -1, max: 1 }),
  answerTokens: fc.integer({ min: 1, max: 110 }),
  arriveAt: fc.nat(20),
  abortAt: fc.option(fc.nat(90), { nil: undefined, freq: 3 }),
});

export type Shape = typeof requestShape extends fc.Arbitrary<infer T> ? T : never;

function toPicture(offset: number, part: Shape['parts'][number]): ScheduledPicture {
  const { markers, covered, shows, kept } = part;
  const stored = { format: covered, pages: covered === 20 ? 3 : 10 };
  const form = { codec: 'capsule', profileId: `n${covered}` };
  const restRows = everyOther(markers);
  const span = { offset, length: covered + markers, restRows };
  const contentSha256 = Uint8Array.of(shows + 1);
  if (kept === 'capsule') return { ...span, stored, content: { ...form, contentSha256 } };
  const asRows = kept.endsWith('rows');
  const content = { codec: asRows ? 'q8' : 'raw', profileId: '', contentSha256 };
  const large: ScheduledPicture = {
    ...{ ...span, content, restRows: asRows ? [] : restRows },
    stored: asRows ? { format: 0, pages: Math.ceil(span.length / 3) } : undefined,
  };
  return kept.startsWith('pressed') ? { ...large, underPressure: { stored, restRows, form } } : large;
}

export function toScript(shape: Shape, index: number): Script {
  let promptTokens = 0;
  const pictures = shape.parts.map((part) => {
    const span = toPicture(promptTokens + part.text, part);
    promptTokens += part.text + span.length;
    return span;
  });
  promptTokens = Math.max(1, promptTokens + shape.tail);
  const tokenIds = Array.from({ length: promptTokens }, (_, at) =>
    at < shape.fork ? (at * 7 + shape.document) % 5 : (at * 3 + shape.fork) % 5,
  );
  const { priority, arriveAt, answerTokens, abortAt, named } = shape;
  const content = named ? { content: { root: ROOT, tokenIds } } : {};
  const bound = shape.bounded ? { maxTokens: answerTokens } : {};
  const texts = TEXTS[shape.text];
  const request = { id: `r${index}`, promptTokens, pictures, priority, ...texts, ...content, ...bound };
  return { request, tokenIds, arriveAt, answerTokens, abortAt };
}
