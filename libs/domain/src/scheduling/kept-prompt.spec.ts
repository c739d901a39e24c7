import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import type { StorageFormat, StorageOffer } from '../storage/index.js';
import { keptPicture, keptText, pageDemand, type ScheduledRequest, Scheduler } from './index.js';

const none = { profileId: '', markerRows: [], pages: 0, headerBytes: 0, bytesPerToken: 0 };
const FORMATS: readonly StorageFormat[] = [
  { ...none, codec: 'q8', tokens: 0, headerBytes: 64, bytesPerToken: 530 },
  { ...none, codec: 'q4', tokens: 0, headerBytes: 64, bytesPerToken: 290 },
  { ...none, codec: 'capsule', profileId: 'p', tokens: 20, pages: 5 },
  { ...none, codec: 'capsule', profileId: 'p', tokens: 40, pages: 9 },
  { ...none, codec: 'capsule-mixed', profileId: 'm', tokens: 42, markerRows: [0, 41], pages: 3 },
];
const OFFER: StorageOffer = { formats: FORMATS, pageBytes: 2_048, blockTokens: 16, pagesPerBlock: 8 };

/** A request as the router and the worker make it of the same prompt. */
function requestOf(
  codec: string,
  texts: readonly number[],
  spans: readonly { readonly length: number; readonly markers: number }[],
  maxTokens: number,
): ScheduledRequest {
  let at = texts[0] ?? 0;
  const pictures = spans.map(({ length, markers }, index) => {
    const offset = at;
    at += length + (texts[index + 1] ?? 0);
    const markerRows = markers === 2 ? [0, length - 1] : Array.from({ length: markers }, (_, row) => row);
    return keptPicture(OFFER, codec, { offset, length, markerRows }, false);
  });
  const text = keptText(OFFER, codec);
  return { id: 'r', promptTokens: at, maxTokens, pictures, ...(text && { text }) };
}

/** Tokens that a request draws alone in a pool of so many pages, at most `most`; undefined where it is refused. */
function drawnAlone(request: ScheduledRequest, pages: number, most: number): number | undefined {
  if (pages === 0) return undefined;
  const scheduler = new Scheduler({ blocks: pages / 8, maxStepTokens: 50, maxRunning: 2, shape: OFFER });
  try {
    scheduler.add(request);
  } catch {
    return undefined;
  }
  let drawn = 0;
  for (let step = scheduler.plan(); step && drawn < most; step = scheduler.plan()) {
    if (step.exhausted.length > 0) return drawn;
    drawn += scheduler.complete(step, [7]).length;
  }
  return drawn;
}

describe('pageDemand', () => {
  const text = (promptTokens: number, maxTokens?: number) =>
    pageDemand({ promptTokens, pictures: [], ...(maxTokens !== undefined && { maxTokens }) }, OFFER);

  it.each([
    [2_047, 2, 128],
    [2_048, 1, 128],
    [2_048, 2, 129],
    [2_048, undefined, 129],
    [16, 0, 1],
  ])('of %i tokens of text and %j of an answer is %i blocks', (promptTokens, maxTokens, blocks) => {
    expect(text(promptTokens, maxTokens)).toBe(blocks * 8);
  });

  it('counts what is answered already, and two tokens more of it at most', () => {
    const demand = (answered: number, maxTokens: number) =>
      pageDemand({ promptTokens: 2_000, answered, maxTokens, pictures: [] }, OFFER);
    expect([demand(47, 100), demand(47, 48), demand(48, 49)]).toEqual([128 * 8, 128 * 8, 128 * 8]);
    expect(demand(48, 100)).toBe(129 * 8);
  });

  it('counts runs of text beside what they become', () => {
    const text = keptText({ ...OFFER, pageBytes: 4_096 }, 'q8');
    // a run of 64 tokens is four blocks, and nine pages when it is stored
    expect(text).toMatchObject({ tokens: 64, stored: { pages: 9 } });
    const demand = (promptTokens: number) =>
      pageDemand({ promptTokens, maxTokens: 1, pictures: [], ...(text && { text }) }, OFFER);
    expect([demand(63), demand(64), demand(65)]).toEqual([4 * 8, 4 * 8, 6 * 8]);
  });

  it('has its peak where raw span, capsule and marker rows stand side by side', () => {
    const { pictures } = requestOf('capsule', [5], [{ length: 42, markers: 2 }], 2);
    // text 1, span 3, a capsule of 9 pages 2, markers 1
    expect(pageDemand({ promptTokens: 47, maxTokens: 1, pictures }, OFFER)).toBe(4 * 8);
    expect(pageDemand({ promptTokens: 47, maxTokens: 2, pictures }, OFFER)).toBe(7 * 8);
  });

  it('is what the scheduler takes a request with, and what it begins to answer with', () => {
    const span = fc.record({
      length: fc.constantFrom(20, 22, 40, 42, 45),
      markers: fc.constantFrom(0, 1, 2),
    });
    const prompt = fc.record({
      codec: fc.constantFrom('raw', 'q8', 'q4', 'capsule', 'capsule-mixed'),
      texts: fc.array(fc.oneof(fc.nat(40), fc.constantFrom(0, 16, 48, 64)), { minLength: 4, maxLength: 4 }),
      spans: fc.array(span, { maxLength: 3 }),
      maxTokens: fc.integer({ min: 1, max: 4 }),
    });
    fc.assert(
      fc.property(prompt, ({ codec, texts, spans, maxTokens }) => {
        const request = requestOf(codec, texts, spans, maxTokens);
        fc.pre(request.promptTokens > 0);
        const pages = pageDemand(request, OFFER);
        const begun = Math.min(2, maxTokens);
        expect(drawnAlone(request, pages, begun)).toBe(begun);
        expect(drawnAlone(request, pages - 8, begun)).toBeUndefined();
      }),
      { numRuns: 400, seed: 12 },
    );
  });
});

describe('keptPicture', () => {
  const span = { offset: 7, length: 42, markerRows: [0, 41] };

  it('is raw, all rows together, where no format of the codec fits', () => {
    const kept = keptPicture(OFFER, 'capsule', { ...span, length: 43 }, true);
    expect(kept).toEqual({
      ...{ offset: 7, length: 43, restRows: [0, 41], stored: undefined },
      form: { codec: 'raw', profileId: '' },
    });
  });

  it('says what it may become under pressure, unless its codec was named', () => {
    const small = {
      stored: { format: 4, pages: 3 },
      restRows: [],
      form: { codec: 'capsule-mixed', profileId: 'm' },
    };
    const rows = { stored: { format: 0, pages: 11 }, restRows: [], form: { codec: 'q8', profileId: '' } };
    expect(keptPicture(OFFER, 'q8', span, true)).toEqual({
      offset: 7,
      length: 42,
      ...rows,
      underPressure: small,
    });
    expect(keptPicture(OFFER, 'q8', span, false)).toEqual({ offset: 7, length: 42, ...rows });
    expect(keptPicture(OFFER, 'capsule', span, true)).toEqual({
      ...{ offset: 7, length: 42, restRows: [0, 41], stored: { format: 3, pages: 9 } },
      form: { codec: 'capsule', profileId: 'p' },
    });
  });
});

describe('keptText', () => {
  it('is runs in the codec’s format, named by it, or raw', () => {
    const form = { codec: 'q8', profileId: '' };
    expect(keptText(OFFER, 'q8')).toEqual({ stored: { format: 0, pages: 17 }, tokens: 64, form });
    expect([keptText(OFFER, 'capsule'), keptText(OFFER, 'raw')]).toEqual([undefined, undefined]);
  });
});
