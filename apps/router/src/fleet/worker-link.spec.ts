import { type Event, Generate } from '@kvcapsule/contracts/worker';
import { NO_WORK } from '@kvcapsule/domain/placement';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { FakeStream } from '../testing/fake-client.js';
import { type LinkListener, WorkerLink } from './worker-link.js';

const nothing = () => undefined;

function linked() {
  const stream = new FakeStream();
  const link = new WorkerLink(stream as never, { sendPicture: nothing as never }, nothing);
  const told = new Map<string, string[]>();
  const ask = (requestId: string) => {
    const heard: string[] = [];
    told.set(requestId, heard);
    const listener: LinkListener = {
      ...{ started: nothing, prefilled: nothing, recompressed: nothing },
      delta: (_choice, { text }) => void heard.push(text),
      flush: () => void heard.push('flush'),
      finished: ({ text }) => void heard.push(`${text}.`),
      failed: nothing,
      lost: nothing,
    };
    link.generate({ message: Generate.create({ requestId }), files: [], work: NO_WORK }, listener);
  };
  return { stream, link, told, ask };
}

const delta = (requestId: string, text: string): Event => ({
  requestId,
  event: { $case: 'delta', value: { text, tokenIds: [1], logprobs: [] } },
});
const finished = (requestId: string, text: string): Event => ({
  requestId,
  event: { $case: 'finished', value: { text, reason: 1, usage: undefined } },
});

it('tells each request what is said of it, in whatever order and of whomever the frames speak', () => {
  const ids = ['a', 'b', 'c', 'd', 'e'];
  const speech = fc.record({
    speaker: fc.constantFrom(...ids, 'unknown'),
    kind: fc.constantFrom('delta', 'delta', 'delta', 'finished', 'forget', 'ask'),
  });
  const property = fc.property(fc.array(fc.array(speech, { maxLength: 8 }), { maxLength: 20 }), (frames) => {
    const { stream, link, told, ask } = linked();
    const expected = new Map<string, string[]>();
    const open = new Set<string>();
    for (const [number, frame] of frames.entries()) {
      const events: Event[] = [];
      const flushed: string[] = [];
      for (const [at, { speaker, kind }] of frame.entries()) {
        const text = `${number}/${at}`;
        if (kind === 'ask' && speaker !== 'unknown' && !open.has(speaker) && events.length === 0) {
          ask(speaker);
          expected.set(speaker, []);
          open.add(speaker);
        } else if (kind === 'forget' && events.length === 0) {
          link.forget(speaker);
          open.delete(speaker);
        } else if (kind === 'delta' || kind === 'finished') {
          events.push(kind === 'delta' ? delta(speaker, text) : finished(speaker, text));
          if (!open.has(speaker)) continue;
          expected.get(speaker)?.push(kind === 'delta' ? text : `${text}.`);
          flushed.push(speaker);
          if (kind === 'finished') open.delete(speaker);
        }
      }
      stream.say({ events });
      for (const speaker of flushed) expected.get(speaker)?.push('flush');
    }
    expect(told).toEqual(expected);
  });
  fc.assert(property, { seed: 3, numRuns: 500 });
});
