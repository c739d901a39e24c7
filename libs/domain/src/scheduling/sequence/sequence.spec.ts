import { describe, expect, it } from 'vitest';

import { picture, ROOT } from '../../testing/request-scripts.js';
import { SchedulerState } from '../state.js';
import type { ScheduledPicture, ScheduledRequest } from '../step.js';
import { Sequence } from './sequence.js';
import { type SequenceWork, UNREPORTED } from './work.js';

const form = { codec: 'q8', profileId: '' };
const textUnderPressure = { stored: { format: 1, pages: 5 }, tokens: 16, form };
const pressed = (offset: number, pages: number): ScheduledPicture => ({
  ...picture(offset, 40, 0, undefined),
  underPressure: { stored: { format: 2, pages }, restRows: [0], form },
});

/** A sequence of so many tokens in a pool of its own, in slot 0. */
function start(request: Partial<ScheduledRequest>) {
  const state = new SchedulerState({ blocks: 32, maxStepTokens: 99, maxRunning: 2 });
  const sequence = new Sequence({ id: 'a', promptTokens: 60, pictures: [], ...request }, 0, state.shape);
  state.add(sequence);
  state.enterSlot(sequence);
  const advance = (budget: number): SequenceWork => {
    const work: SequenceWork = { changes: [], chunks: [], rows: 0, samples: false };
    sequence.advance(budget, work, state.source);
    return work;
  };
  return { state, sequence, advance };
}

describe('rows of a sequence', () => {
  it('are as many as a step gives it, whatever segments they lie in', () => {
    const { advance } = start({ pictures: [picture(10, 20, 0, undefined)] });
    expect(advance(15)).toMatchObject({
      rows: 15,
      samples: false,
      chunks: [{ rows: 10 }, { start: 10, rows: 5 }],
    });
    const { changes, ...rest } = advance(99);
    expect(rest).toMatchObject({ rows: 45, samples: true });
    // it goes on in the picture's segment, where there is room for one more row, and begins the text behind it
    expect(changes.map(({ kind }) => kind)).toEqual(['blocks', 'segment', 'blocks']);
  });

  it('end with a span that is stored before the next row', () => {
    const { sequence, advance } = start({ pictures: [picture(10, 20, 2, 3)] });
    expect(advance(99)).toMatchObject({ rows: 30, samples: false });
    const { changes, rows } = advance(99);
    expect([changes[0]?.kind, rows]).toEqual(['compress', 30]);
    expect(sequence.table.segments.map(({ kind, tokens }) => [kind, tokens])).toEqual([
      ['raw', 10],
      ['stored', 18],
      ['raw', 2],
      ['raw', 30],
    ]);
  });

  it('draw no token where none is missing', () => {
    const { advance } = start({ maxTokens: 1 });
    expect([advance(99).samples, advance(99)]).toMatchObject([true, { rows: 0, samples: false }]);
  });
});

describe('a sequence that begins with a cached prefix', () => {
  const tokenIds = Array.from({ length: 60 }, (_, at) => at);
  const content = { codec: 'c', profileId: '', contentSha256: Uint8Array.of(1) };

  it.each([
    ['raw', picture(0, 20, 0, undefined), [['raw', 20, 2]]],
    ['stored', picture(0, 20, 0, 3), [['stored', 20, undefined]]],
    [
      'stored beside raw rows',
      picture(0, 20, 2, 3),
      [
        ['stored', 18, undefined],
        ['raw', 2, 1],
      ],
    ],
  ])('shares the pages of a picture that is %s', (_, shown, segments) => {
    const request = { pictures: [{ ...shown, content }], content: { root: ROOT, tokenIds } };
    const first = start(request);
    first.advance(99);
    first.advance(99);
    first.sequence.naming.confirm(60, first.state.cache);
    const second = start(request).sequence;
    const match = first.state.cache.match(second.chain as NonNullable<typeof second.chain>, 20);
    const work: SequenceWork = { changes: [], chunks: [], rows: 0, samples: false };
    second.attach(match, undefined, work);
    const held = second.table.segments;
    expect(
      held.map((each) => [each.kind, each.tokens, each.kind === 'raw' ? each.cached : undefined]),
    ).toEqual(segments);
    expect(second.table.pages).toEqual(first.sequence.table.pages.slice(0, second.table.pageCount));
    expect([second.progress.computed, second.table.pageCount]).toEqual([20, second.table.pages.length]);
  });
});

describe('a sequence that gives its pages up', () => {
  it('holds none while they are kept elsewhere, and takes part in no step', () => {
    const { sequence, advance } = start({});
    advance(99);
    sequence.inSteps.add(1);
    sequence.reported = { pages: 32, prefilling: false };
    expect(sequence.swapOut().runs).toHaveLength(4);
    expect([sequence.segments, sequence.slot, sequence.inSteps.size, sequence.reported]).toEqual([
      [],
      -1,
      0,
      UNREPORTED,
    ]);
    expect([sequence.table.pageCount, sequence.blocksToRestoreApart]).toEqual([32, 4]);
    // its pages are given back already
    expect(sequence.reset().runs).toEqual([]);
    expect([sequence.swapped, sequence.table.pageCount]).toEqual([false, 0]);
  });

  it('is computed again from its beginning, in the form that its text has taken', () => {
    const tokenIds = Array.from({ length: 60 }, (_, at) => at);
    const { state, sequence, advance } = start({ textUnderPressure, content: { root: ROOT, tokenIds } });
    advance(99);
    sequence.inSteps.add(1);
    sequence.reported = { pages: 32, prefilling: false };
    const raw = sequence.chain?.units[0];
    expect(sequence.recompressText(state.source, [])).toEqual({ id: 'a', picture: undefined, start: 0 });
    expect([sequence.progress.text, sequence.chain?.units[0]]).toEqual([undefined, raw]);
    const { runs } = sequence.reset();
    // a run of five pages, and three blocks
    expect(runs).toHaveLength(4);
    expect([sequence.progress.computed, sequence.slot, sequence.inSteps.size, sequence.reported]).toEqual([
      0,
      -1,
      0,
      UNREPORTED,
    ]);
    expect(sequence.progress.text).toBe(textUnderPressure);
    expect(sequence.chain?.units[0]).toMatchObject({ run: true, tokenIds: tokenIds.slice(0, 16) });
    expect(sequence.chain?.units[0]?.name).not.toBe(raw?.name);
    // and it is named again
    for (let computed = 0; computed < 60; { computed } = sequence.progress) advance(99);
    sequence.naming.confirm(60, state.cache);
    expect(sequence.naming.entries.map(({ tokenIds: { length } }) => length)).toEqual([16, 16, 16]);
  });

  it('keeps its names where nothing of it was stored otherwise, and waits for features of all its pictures', () => {
    const tokenIds = Array.from({ length: 60 }, (_, at) => at);
    const shown = picture(0, 20, 0, 3);
    const content = { codec: 'capsule', profileId: '', contentSha256: Uint8Array.of(1) };
    const { sequence, advance } = start({
      pictures: [{ ...shown, content }],
      content: { root: ROOT, tokenIds },
    });
    advance(99);
    const names = sequence.chain?.units.map(({ name }) => name);
    sequence.reset();
    expect([sequence.chain?.units.map(({ name }) => name), sequence.featuresFrom]).toEqual([names, 1]);
    expect(sequence.progress.text).toBeUndefined();
    expect(advance(99)).toMatchObject({ rows: 20, chunks: [{ start: 0 }] });
  });
});

describe('what a sequence may store otherwise under pressure', () => {
  it('takes most for the largest of its pictures, computed or not, and the runs of its text', () => {
    const pictures = [picture(0, 10, 0, undefined), pressed(10, 20), pressed(50, 3)];
    const most = (request: Partial<ScheduledRequest>) => {
      const { sequence, state } = start({ promptTokens: 99, ...request });
      return sequence.mostBlocksToRecompress(state.source);
    };
    // twenty pages and a row, three pages and a row, five pages
    expect([
      most({ pictures }),
      most({ pictures: pictures.slice(2).map((each) => ({ ...each, offset: 10 })) }),
    ]).toEqual([4, 2]);
    expect([most({ textUnderPressure }), most({}), most({ pictures: pictures.slice(0, 1) })]).toEqual([
      1, 0, 0,
    ]);
    const larger = { ...textUnderPressure, stored: { format: 1, pages: 40 } };
    expect(most({ pictures, textUnderPressure: larger })).toBe(5);
  });

  it('is a picture once it is computed', () => {
    const { sequence, state, advance } = start({ pictures: [pressed(10, 3)] });
    expect(sequence.blocksToRecompress(state.source)).toBeUndefined();
    advance(99);
    expect(sequence.blocksToRecompress(state.source)).toBe(2);
    const changes: Parameters<Sequence['recompress']>[1] = [];
    expect(sequence.recompress(state.source, changes)).toEqual({ id: 'a', picture: 0 });
    expect(changes).toMatchObject([{ kind: 'compress', slot: 0, segment: 1, format: 2, restRows: [0] }]);
    expect(sequence.blocksToRecompress(state.source)).toBeUndefined();
    expect(() => sequence.recompress(state.source, [])).toThrow('no raw picture');
  });

  it('is text run by run, cut out of the rows that it stands in', () => {
    const { sequence, state, advance } = start({ textUnderPressure, promptTokens: 40 });
    expect(sequence.hasTextToRecompress(state.source)).toBe(false);
    advance(99);
    const starts: (number | undefined)[] = [];
    const kinds: string[][] = [];
    while (sequence.hasTextToRecompress(state.source)) {
      const changes: Parameters<Sequence['recompressText']>[1] = [];
      const told = sequence.recompressText(state.source, changes);
      starts.push('start' in told ? told.start : undefined);
      kinds.push(changes.map(({ kind }) => kind));
    }
    expect(starts).toEqual([0, 16]);
    expect(kinds).toEqual([
      ['split', 'compress'],
      ['split', 'compress'],
    ]);
    expect(sequence.table.segments.map(({ kind, start: at, tokens }) => [kind, at, tokens])).toEqual([
      ['stored', 0, 16],
      ['stored', 16, 16],
      ['raw', 32, 8],
    ]);
    expect(() => sequence.recompressText(state.source, [])).toThrow('no raw text');
  });

  it('is not cut where it is a whole segment, and left where others use it too', () => {
    const whole = start({ textUnderPressure, promptTokens: 16 });
    whole.advance(99);
    const changes: Parameters<Sequence['recompressText']>[1] = [];
    whole.sequence.recompressText(whole.state.source, changes);
    expect(changes.map(({ kind }) => kind)).toEqual(['compress']);
    const shared = start({ textUnderPressure, promptTokens: 40 });
    shared.advance(99);
    shared.state.pool.share(shared.sequence.table.runs.slice(0, 1));
    const cuts: typeof changes = [];
    expect(shared.sequence.recompressText(shared.state.source, cuts)).toMatchObject({ start: 16 });
    expect(cuts).toMatchObject([
      { kind: 'split', segment: 0, tokens: 16 },
      { kind: 'split', segment: 1, tokens: 16 },
      { kind: 'compress', segment: 1 },
    ]);
  });

  it('is named as soon as it is there: raw text with its last token, a stored run with the step behind it', () => {
    const tokenIds = Array.from({ length: 32 }, (_, at) => at);
    const namedAfter = (confirmed: number, request: Partial<ScheduledRequest>) => {
      const { sequence, state, advance } = start({
        promptTokens: 32,
        content: { root: ROOT, tokenIds },
        ...request,
      });
      sequence.chain?.push(1);
      advance(99);
      sequence.progress.generated = 1;
      advance(99);
      sequence.naming.confirm(confirmed, state.cache);
      const kinds = sequence.naming.entries.map(({ content }) => content.kind);
      sequence.sealTail(state.cache);
      return [kinds, sequence.naming.entries.map((entry) => entry.tokenIds.length)];
    };
    const text = { ...textUnderPressure, tokens: 32 };
    expect(namedAfter(31, {})).toEqual([['text'], [16, 15]]);
    expect(namedAfter(32, {})).toEqual([
      ['text', 'text'],
      [16, 16],
    ]);
    expect(namedAfter(32, { text })).toEqual([[], []]);
    expect(namedAfter(33, { text })).toEqual([['run'], [32, 1]]);
  });

  it('has no names for what is computed behind a picture that was stored after all', () => {
    const tokenIds = Array.from({ length: 60 }, (_, at) => at);
    const content = { codec: 'raw', profileId: '', contentSha256: Uint8Array.of(1) };
    const pictures = [{ ...pressed(0, 3), content }];
    const { sequence, state, advance } = start({ pictures, content: { root: ROOT, tokenIds } });
    advance(40);
    sequence.naming.confirm(40, state.cache);
    sequence.recompress(state.source, []);
    advance(99);
    sequence.naming.confirm(60, state.cache);
    sequence.sealTail(state.cache);
    expect([sequence.naming.entries, state.cache.size]).toEqual([[], 1]);
  });

  it('leaves to the cache what it was before, and that alone', () => {
    const tokenIds = Array.from({ length: 80 }, (_, at) => at);
    const content = { codec: 'raw', profileId: '', contentSha256: Uint8Array.of(1) };
    const pictures = [{ ...pressed(16, 3), content }];
    const named = { promptTokens: 80, pictures, textUnderPressure, content: { root: ROOT, tokenIds } };
    const { sequence, state, advance } = start(named);
    advance(99);
    sequence.naming.confirm(80, state.cache);
    const used = () => [
      sequence.naming.entries.map(({ tokenIds: { length } }) => length),
      state.cache.idlePages,
    ];
    expect(used()).toEqual([[16, 40, 16], 0]);
    expect(sequence.naming.entries[1]?.content.kind).toBe('picture');
    sequence.recompress(state.source, []);
    expect(used()).toEqual([[16, 16], 24]);
    sequence.recompressText(state.source, []);
    expect(used()).toEqual([[16], 32]);
    // what it computes from here on attends to what was stored after all
    sequence.chain?.push(1);
    advance(99);
    sequence.naming.confirm(81, state.cache);
    sequence.sealTail(state.cache);
    expect(used()).toEqual([[16], 32]);
  });
});
