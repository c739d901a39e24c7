import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { ComingContent, contentKey } from './coming-content.js';

const key = (id: number) => contentKey(Uint8Array.of(id));
const workersWith = (content: ComingContent, id: number, nowMs = 0) => {
  content.forgetTold(nowMs);
  return [...content.workersWith(key(id))].sort();
};

describe('what is coming', () => {
  it('is what was sent, until a second after the answer, and not after a failure', () => {
    const content = new ComingContent();
    const [answered, failed] = [content.send('w', [key(1), key(2)]), content.send('v', [key(1)])];
    expect([workersWith(content, 1), workersWith(content, 2)]).toEqual([['v', 'w'], ['w']]);
    failed(false, 5);
    answered(true, 10);
    answered(false, 20);
    expect([workersWith(content, 1, 1_009), content.has(key(1), 'w')]).toEqual([['w'], true]);
    expect([workersWith(content, 1, 1_010), content.size, content.has(key(1), 'w')]).toEqual([[], 0, false]);
  });

  it('is what a worker says, whoever has sent it there', () => {
    const content = new ComingContent();
    const told = content.toldBy('w');
    const failed = content.send('w', [key(1)]);
    for (const id of [1, 1, 2]) told.coming(key(id));
    failed(false, 0);
    expect([1, 2].map((id) => workersWith(content, id))).toEqual([['w'], ['w']]);
    for (const id of [1, 1, 3]) told.settled(key(id));
    expect([workersWith(content, 1), workersWith(content, 2), content.size]).toEqual([[], ['w'], 1]);
    told.clear();
    expect(content.size).toBe(0);
  });

  it('makes names that take long when somebody asks for the others that were sent with them', () => {
    const content = new ComingContent();
    const later = vi.fn(() => [key(3)]);
    const ended = content.send('w', [key(1), key(2)], later);
    const forgotten = content.send('v', [key(4)], later);
    content.toldBy('u').coming(key(3));
    expect([workersWith(content, 3), later.mock.calls.length]).toEqual([['u'], 0]);
    expect([workersWith(content, 2), workersWith(content, 1), workersWith(content, 3)]).toEqual([
      ['w'],
      ['w'],
      ['u', 'w'],
    ]);
    forgotten(false, 0);
    ended(false, 0);
    expect([workersWith(content, 4), workersWith(content, 3), later.mock.calls.length]).toEqual([
      [],
      ['u'],
      1,
    ]);
  });

  it('is bounded for each worker, and for all', () => {
    const content = new ComingContent();
    const names = (from: number) =>
      Array.from({ length: 2_000 }, (_, at) =>
        contentKey(new Uint8Array(new Uint32Array([from + at]).buffer)),
      );
    const talkative = content.toldBy('w');
    for (const name of names(0)) talkative.coming(name);
    expect(content.size).toBe(1_024);
    talkative.clear();
    const ends = Array.from({ length: 40 }, (_, at) => content.send('w', names(2_000 * at)));
    expect(content.size).toBe(65_536);
    for (const end of ends) end(false, 0);
    expect(content.size).toBe(0);
  });

  it('is what was sent and not answered, and what was told and not settled, in any order', () => {
    const act = fc.record({
      kind: fc.constantFrom('send', 'answer', 'end', 'coming', 'settled', 'clear'),
      worker: fc.constantFrom('v', 'w'),
      name: fc.nat(3),
      which: fc.nat(20),
      afterMs: fc.nat(700),
    });
    fc.assert(
      fc.property(fc.array(act, { maxLength: 60 }), (acts) => {
        const content = new ComingContent();
        const said = { v: new Set<number>(), w: new Set<number>() };
        const told = { v: content.toldBy('v'), w: content.toldBy('w') };
        const all: {
          worker: 'v' | 'w';
          names: number[];
          untilMs: number;
          end: ReturnType<ComingContent['send']>;
        }[] = [];
        let nowMs = 0;
        for (const { kind, worker, name, which, afterMs } of acts) {
          nowMs += afterMs;
          const one = all[which % Math.max(1, all.length)];
          if (kind === 'send') {
            const names = [name, (name + 1) % 4];
            all.push({ worker, names, untilMs: Infinity, end: content.send(worker, names.map(key)) });
          } else if (kind === 'coming') {
            told[worker].coming(key(name));
            said[worker].add(name);
          } else if (kind === 'settled') {
            told[worker].settled(key(name));
            said[worker].delete(name);
          } else if (kind === 'clear') {
            told[worker].clear();
            said[worker].clear();
          } else if (one) {
            one.end(kind === 'answer', nowMs);
            if (one.untilMs === Infinity) one.untilMs = kind === 'answer' ? nowMs + 1_000 : nowMs;
          }
          const alive = all.filter(({ untilMs }) => untilMs > nowMs);
          const expected = [0, 1, 2, 3].map((id) =>
            (['v', 'w'] as const).filter(
              (each) =>
                said[each].has(id) ||
                alive.some(({ worker: at, names }) => at === each && names.includes(id)),
            ),
          );
          expect([0, 1, 2, 3].map((id) => workersWith(content, id, nowMs))).toEqual(expected);
          expect(content.size).toBe(expected.filter(({ length }) => length > 0).length);
        }
      }),
      { numRuns: 200, seed: 8 },
    );
  });
});
