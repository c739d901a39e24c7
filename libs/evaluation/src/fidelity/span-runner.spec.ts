import type { Engine } from '@kvcapsule/engine';
import { FakeEngine } from '@kvcapsule/testing/engine';
import { describe, expect, it } from 'vitest';
import { textRows } from '../prompts/step-rows.js';
import { type Held, NOTHING_HELD, SpanRunner, type Text } from './span-runner.js';

/** The engine refuses a page that is written while another sequence reads it. */
const runnerOn = (engine: FakeEngine) => new SpanRunner(engine as unknown as Engine, engine.poolBlocks);
const FITTED = { tokens: 37, pages: 11 };
const CHOICE = { format: 0, pages: FITTED.pages, restRows: [0, 1, 21] };
const part = (length: number, from: number, token = 9) => textRows(Array<number>(length).fill(token), from);

/** Two prefixes of two segments, raw and compressed. */
async function prefixes(runner: SpanRunner): Promise<{ raw: Held[]; thin: Held[] }> {
  const raw = await runner.grow(
    [NOTHING_HELD, NOTHING_HELD],
    [
      [part(3, 0), part(40, 3)],
      [part(3, 0), part(40, 3, 8)],
    ],
  );
  const thin = await runner.compress(raw, CHOICE);
  expect(thin.map(({ tokens }) => tokens)).toEqual([43, 43]);
  return { raw, thin };
}

const logitsOf = async (runner: SpanRunner, texts: readonly Text[]): Promise<Float32Array[][]> => {
  const { running, logits } = await runner.read(texts);
  runner.close(running);
  return logits;
};

describe('SpanRunner', () => {
  it('shares what is held and nothing else, and leaks no block', async () => {
    // 10 raw, 6 of stored spans and rest rows, 12 of questions and answers: a block that leaks is missed soon.
    const runner = runnerOn(new FakeEngine(28, [FITTED]));
    for (let batch = 0; batch < 5; batch++) {
      await runner.scoped(async () => {
        const { raw, thin } = await prefixes(runner);
        const texts = [raw[0]!, thin[0]!, thin[0]!, thin[1]!].map((held) => ({
          ...{ held, tokens: [5, 6], samples: 2 },
        }));
        const { running } = await runner.read(texts);
        for (let token = 0; token < 40; token++) {
          await runner.extend(new Map(running.slice(token % 2).map((sequence) => [sequence, 7])));
        }
        runner.close(running);
      });
    }
  });

  it('gives every question the logits that it has alone, by what it reads', async () => {
    const runner = runnerOn(new FakeEngine(28, [FITTED]));
    await runner.scoped(async () => {
      const { raw, thin } = await prefixes(runner);
      const texts = [raw[0]!, raw[1]!, thin[0]!, thin[1]!].map((held, text) => ({
        ...{ held, tokens: [5, 6, text], samples: 2 },
      }));
      const together = await runner.scoped(() => logitsOf(runner, texts));
      expect(new Set(together.flat().map(String)).size).toBe(2 * texts.length);
      for (const [index, text] of texts.entries()) {
        const [alone] = await runner.scoped(() => logitsOf(runner, [text]));
        expect(alone).toEqual(together[index]);
      }
    });
  });

  it('says when the pool is too small, and gives everything back', async () => {
    const runner = runnerOn(new FakeEngine(5));
    const grow = (tokens: number) => runner.scoped(() => runner.grow([NOTHING_HELD], [[part(tokens, 0)]]));
    await expect(grow(16 * 6)).rejects.toThrow(/too small/);
    await expect(grow(16 * 5)).resolves.toHaveLength(1);
  });
});
