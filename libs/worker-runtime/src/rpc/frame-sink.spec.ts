import type { ConnectResponse, Event } from '@kvcapsule/contracts/worker';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { FrameSink } from './frame-sink.js';

const delta = (requestId: string, text: string): Event => ({
  requestId,
  event: {
    $case: 'delta',
    value: { text, tokenIds: [...text].map((c) => c.charCodeAt(0)), logprobs: [] },
  },
});
const started = (requestId: string): Event => ({
  requestId,
  event: { $case: 'started', value: { promptTokens: 1, cachedTokens: 0 } },
});
const finished = (requestId: string): Event => ({
  requestId,
  event: { $case: 'finished', value: { reason: 1, text: '', usage: undefined } },
});

function scene(heldBytes = 1_000_000) {
  const frames: ConnectResponse[] = [];
  const state = { takes: true, overflows: 0 };
  const sink = new FrameSink({
    write: (frame) => {
      frames.push(frame);
      return state.takes;
    },
    heldBytes,
    overflow: () => (state.overflows += 1),
  });
  return { frames, sink, state };
}

const kinds = ({ events }: ConnectResponse) =>
  events.map(({ requestId, event }) => `${requestId} ${event?.$case}`);
const textOf = (frames: readonly ConnectResponse[], id: string) =>
  frames
    .flatMap(({ events }) => events)
    .map(({ requestId, event }) => (requestId === id && event?.$case === 'delta' ? event.value.text : ''))
    .join('');

describe('a stream that takes everything', () => {
  it('gets what one turn of the event loop brought as one frame', async () => {
    const { frames, sink } = scene();
    for (const event of [started('a'), delta('a', 'x'), delta('b', 'y')]) sink.push(event);
    await Promise.resolve();
    sink.push(finished('a'));
    await Promise.resolve();
    expect(frames.map(kinds)).toEqual([['a started', 'a delta', 'b delta'], ['a finished']]);
  });
});

describe('a stream that is full', () => {
  it('gets a request’s deltas as one when it takes frames again', async () => {
    const { frames, sink, state } = scene();
    state.takes = false;
    sink.push(delta('a', '1'));
    await Promise.resolve();
    for (const text of ['2', '3']) for (const id of ['a', 'b']) sink.push(delta(id, text));
    sink.push(finished('a'));
    sink.push(delta('b', '4'));
    await Promise.resolve();
    expect([frames.length, sink.full]).toEqual([1, true]);
    state.takes = true;
    sink.drained();
    expect(frames.slice(1).map(kinds)).toEqual([['a delta', 'b delta', 'a finished']]);
    expect([textOf(frames, 'a'), textOf(frames, 'b')]).toEqual(['123', '234']);
    expect(sink.heldBytes).toBe(0);
  });

  it('is given up when more waits than it may', async () => {
    const { frames, sink, state } = scene(1_000);
    state.takes = false;
    sink.push(delta('a', '1'));
    await Promise.resolve();
    for (let i = 0; i < 300; i += 1) sink.push(delta('a', 'ten bytes!'));
    expect([state.overflows, sink.heldBytes, frames.length]).toEqual([1, 0, 1]);
    sink.drained();
    expect(frames).toHaveLength(1);
  });

  it('gets frames of bounded size, and stops again where it is full again', async () => {
    const { frames, sink, state } = scene(100_000_000);
    state.takes = false;
    sink.push(delta('a', '1'));
    await Promise.resolve();
    for (let id = 0; id < 20; id += 1) sink.push(delta(String(id), 'x'.repeat(100_000)));
    sink.drained();
    expect([frames.length, frames[1]?.events.length]).toEqual([2, 1]);
    state.takes = true;
    sink.drained();
    expect(frames).toHaveLength(21);
    expect(sink.heldBytes).toBe(0);
  });
});

it('loses nothing and keeps each request’s order, whenever the stream is full', async () => {
  const step = fc.record({
    kind: fc.constantFrom('delta', 'delta', 'delta', 'turn', 'full', 'drained'),
    id: fc.constantFrom('a', 'b', 'c'),
    text: fc.string({ maxLength: 4 }),
  });
  const property = fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
    const { frames, sink, state } = scene();
    const wanted = new Map<string, string>();
    for (const { kind, id, text } of steps) {
      if (kind === 'turn') await Promise.resolve();
      else if (kind === 'full') state.takes = false;
      else if (kind === 'drained') {
        state.takes = true;
        sink.drained();
      } else {
        if (!wanted.has(id)) sink.push(started(id));
        wanted.set(id, (wanted.get(id) ?? '') + text);
        sink.push(delta(id, text));
      }
    }
    await Promise.resolve();
    for (const id of wanted.keys()) sink.push(finished(id));
    state.takes = true;
    await Promise.resolve();
    sink.drained();
    for (const [id, text] of wanted) {
      expect(textOf(frames, id)).toBe(text);
      const own = frames.flatMap(kinds).filter((kind) => kind.startsWith(id));
      expect([own[0], own.at(-1)]).toEqual([`${id} started`, `${id} finished`]);
      expect(own.slice(1, -1).every((kind) => kind.endsWith('delta'))).toBe(true);
    }
    expect(sink.heldBytes).toBe(0);
  });
  await fc.assert(property, { seed: 11, numRuns: 300 });
});
