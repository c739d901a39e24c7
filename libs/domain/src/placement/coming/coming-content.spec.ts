import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ComingContent, type PicturePrompt } from './coming-content.js';

const promptOf = (tokenIds: readonly number[], ...pictures: readonly [string, number][]): PicturePrompt => ({
  tokenIds,
  pictures: pictures.map(([name, offset]) => ({ name, offset, length: 2 })),
});
const told = (content: ComingContent, prompt: PicturePrompt, nowMs = 0) =>
  Object.fromEntries(
    [...content.of(prompt, nowMs)].map(([workerId, { prefixTokens, pictures }]) => [
      workerId,
      [prefixTokens, ...pictures],
    ]),
  );

describe('what is coming', () => {
  it('is what was sent, up to the last picture that stands at the same place after the same tokens', () => {
    const content = new ComingContent();
    content.send('w', promptOf([1, 0, 0, 2, 0, 0, 3], ['a', 1], ['b', 4]));
    for (const [prompt, expected] of [
      [promptOf([1, 0, 0, 2, 0, 0, 9], ['a', 1], ['b', 4]), [6, 0, 1]],
      [promptOf([1, 0, 0, 9, 0, 0, 3], ['a', 1], ['b', 4]), [3, 0, 1]],
      [promptOf([9, 0, 0, 2, 0, 0, 3], ['a', 1], ['b', 4]), [0, 0, 1]],
      [promptOf([1, 0, 0, 0, 0], ['a', 1], ['a', 3]), [3, 0, 1]],
      [promptOf([1, 0, 0, 0, 0], ['c', 1], ['b', 3]), [0, 1]],
    ] as const) {
      expect(told(content, prompt)).toEqual({ w: expected });
    }
    expect(told(content, promptOf([1, 0, 0], ['c', 1]))).toEqual({});
  });

  it('is so for a second after the answer, and not after a failure', () => {
    const content = new ComingContent();
    const prompt = promptOf([0, 0], ['a', 0]);
    const [answered, failed] = [content.send('w', prompt), content.send('v', prompt)];
    failed(false, 5);
    answered(true, 10);
    answered(false, 20);
    expect(told(content, prompt, 1_009)).toEqual({ w: [2, 0] });
    expect([told(content, prompt, 1_010), content.size]).toEqual([{}, 0]);
  });

  it('is what was sent and not told of, in whatever order requests begin, are answered and end', () => {
    const act = fc.record({
      kind: fc.constantFrom('send', 'answer', 'end'),
      worker: fc.constantFrom('v', 'w'),
      picture: fc.constantFrom('a', 'b', 'c'),
      which: fc.nat(20),
      afterMs: fc.nat(700),
    });
    fc.assert(
      fc.property(fc.array(act, { maxLength: 40 }), (acts) => {
        const content = new ComingContent();
        const all: {
          worker: string;
          picture: string;
          untilMs: number;
          end: ReturnType<ComingContent['send']>;
        }[] = [];
        let nowMs = 0;
        for (const { kind, worker, picture, which, afterMs } of acts) {
          nowMs += afterMs;
          const one = all[which % Math.max(1, all.length)];
          if (kind === 'send') {
            const end = content.send(worker, promptOf([0, 0], [picture, 0]));
            all.push({ worker, picture, untilMs: Infinity, end });
          } else if (one) {
            one.end(kind === 'answer', nowMs);
            if (one.untilMs === Infinity) one.untilMs = kind === 'answer' ? nowMs + 1_000 : nowMs;
          }
          const alive = all.filter(({ untilMs }) => untilMs > nowMs);
          for (const name of ['a', 'b', 'c']) {
            const there = alive.filter((each) => each.picture === name).map((each) => each.worker);
            expect(new Set(content.of(promptOf([0, 0], [name, 0]), nowMs).keys())).toEqual(new Set(there));
          }
          expect(content.size).toBe(new Set(alive.map((each) => each.picture)).size);
        }
      }),
      { numRuns: 200, seed: 8 },
    );
  });
});
