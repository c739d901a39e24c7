import { KvcError } from '@kvcapsule/contracts/errors';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { ARRIVAL_MS, PictureInbox } from './picture-inbox.js';

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

/** A picture that is asked for: its ticket, and what came of it. */
function ask(inbox: PictureInbox, key: string): { ticket: string; outcome: Promise<unknown> } {
  let ticket = '';
  const file = inbox.receive(key, { index: 0, param: 'messages.0.content.1' }, (given) => {
    ticket = given;
  });
  return { ticket, outcome: file.catch((error: unknown) => (error as KvcError).code) };
}

describe('PictureInbox', () => {
  it('puts every picture together from its own parts, in whatever order streams take turns and end', async () => {
    const what = fc.record({
      parts: fc.array(fc.uint8Array({ minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 6 }),
      ending: fc.constantFrom('whole', 'broken', 'too much', 'ended request', 'timeout'),
    });
    const scenario = fc.record({
      pictures: fc.array(what, { minLength: 1, maxLength: 6 }),
      turns: fc.array(fc.nat(5), { maxLength: 60 }),
    });
    await fc.assert(
      fc.asyncProperty(scenario, async ({ pictures, turns }) => {
        const inbox = new PictureInbox();
        const streams = pictures.map((picture, index) => {
          const { ticket, outcome } = ask(inbox, `r${index}`);
          const left = [...picture.parts];
          const bytes = Buffer.concat(left).length + (picture.ending === 'whole' ? 0 : 1);
          return { ...picture, ticket, outcome, left, arrival: inbox.open(ticket, bytes) };
        });
        const end = ({ ending, arrival }: (typeof streams)[number], index: number): void => {
          if (ending === 'too much') expect(arrival?.take(Buffer.alloc(2))).toBe('unwanted');
          if (ending === 'broken') arrival?.fail(new KvcError('WORKER_LOST', 'broken'));
          if (ending === 'ended request') inbox.cancel(`r${index}`);
        };
        const turn = (index: number): boolean => {
          const stream = streams[index % streams.length];
          const part = stream?.left.shift();
          const isLast = stream?.ending === 'whole' && stream.left.length === 0;
          if (part) expect(stream?.arrival?.take(Buffer.from(part))).toBe(isLast ? 'whole' : 'more');
          else if (stream) end(stream, index % streams.length);
          return part !== undefined;
        };
        for (const index of turns) turn(index);
        for (const index of streams.keys()) while (turn(index));
        vi.advanceTimersByTime(ARRIVAL_MS);
        for (const { ending, parts, outcome, arrival, ticket } of streams) {
          const code = ending === 'ended request' ? 'ABORTED' : 'WORKER_LOST';
          expect(await outcome).toEqual(ending === 'whole' ? Buffer.concat(parts) : code);
          expect(arrival?.take(Buffer.of(1))).toBe('unwanted');
          expect(inbox.open(ticket, 1)).toBeUndefined();
        }
        expect([inbox.size, vi.getTimerCount()]).toEqual([0, 0]);
      }),
      { numRuns: 200, seed: 5 },
    );
  });

  it('lets one stream bring a picture, and none that was not asked for', async () => {
    const inbox = new PictureInbox();
    const { ticket, outcome } = ask(inbox, 'a');
    expect(inbox.open('another', 1)).toBeUndefined();
    const first = inbox.open(ticket, 1);
    expect(inbox.open(ticket, 1)).toBeUndefined();
    first?.take(Buffer.of(7));
    expect(await outcome).toEqual(Buffer.of(7));
  });

  it('takes nothing larger than a picture may be', async () => {
    const inbox = new PictureInbox();
    const most = 20 * 1024 * 1024;
    const [fits, tooLarge] = [ask(inbox, 'a'), ask(inbox, 'b')];
    expect(inbox.open(fits.ticket, most)).toBeDefined();
    expect(inbox.open(tooLarge.ticket, most + 1)).toBeUndefined();
    expect([await tooLarge.outcome, inbox.size]).toEqual(['IMAGE_TOO_LARGE', 1]);
  });

  it('asks for no picture that came with its request, unless it is wanted again', async () => {
    const inbox = new PictureInbox();
    inbox.bring('a', [undefined, Buffer.of(1)]);
    const wanted = { index: 1, param: 'p' };
    const asked: string[] = [];
    const want = (key: string, index: number) =>
      inbox.receive(key, { ...wanted, index }, () => asked.push(`${key} ${index}`)).catch(() => 'ended');
    expect([await want('a', 1), asked]).toEqual([Buffer.of(1), []]);
    const waiting = [want('a', 1), want('a', 0), want('b', 1)];
    expect(asked).toEqual(['a 1', 'a 0', 'b 1']);
    for (const key of ['a', 'b']) inbox.cancel(key);
    expect(await Promise.all(waiting)).toEqual(['ended', 'ended', 'ended']);
  });

  it('lets go of what came with a request when that ends', () => {
    const inbox = new PictureInbox();
    const asked = vi.fn();
    inbox.bring('a', [Buffer.of(1)]);
    inbox.cancel('a');
    void inbox.receive('a', { index: 0, param: 'p' }, asked).catch(() => undefined);
    expect(asked).toHaveBeenCalledOnce();
    inbox.cancel('a');
  });

  it('keeps no more of what comes with a request than the protocol allows', () => {
    const inbox = new PictureInbox();
    const most = 64 * 1024;
    inbox.bring('a', [Buffer.alloc(most + 1), Buffer.alloc(most - 1), Buffer.alloc(2), Buffer.alloc(1)]);
    const asked: number[] = [];
    for (const index of [0, 1, 2, 3])
      void inbox.receive('a', { index, param: 'p' }, () => asked.push(index)).catch(() => undefined);
    expect(asked).toEqual([0, 2]);
    inbox.cancel('a');
  });

  it('gives a picture up that nobody brings', async () => {
    const inbox = new PictureInbox();
    const { outcome } = ask(inbox, 'a');
    vi.advanceTimersByTime(ARRIVAL_MS - 1);
    expect(inbox.size).toBe(1);
    vi.advanceTimersByTime(1);
    expect([await outcome, inbox.size]).toEqual(['WORKER_LOST', 0]);
  });
});
