import type { Engine, StepPlan, StepResult } from '@kvcapsule/engine';
import { FAKE_IMAGE_TOKEN, FAKE_VOCAB, FakeEngine } from '@kvcapsule/testing/engine';
import { describe, expect, it } from 'vitest';
import { BatchRunner } from './batch-runner.js';
import { coveredRows } from '../prompts/step-rows.js';

const IMAGE = FAKE_IMAGE_TOKEN;
const FITTED = { tokens: 40, pages: 11 };
const PICTURE = [7, 9, ...Array<number>(20).fill(IMAGE), 7, 10, ...Array<number>(20).fill(IMAGE), 7];
const PAGES_PER_BLOCK = 8;

const runnerOn = (engine: FakeEngine) => new BatchRunner(engine as unknown as Engine, engine.poolBlocks);

/** One block of text and three of a picture, which shows a number. */
async function prompt(engine: FakeEngine, shown: number) {
  const { handle } = await engine.encodeImage(Uint8Array.of(shown), 40);
  return { prefix: [1, 4], picture: PICTURE, imageHandle: handle };
}

const prompts = (engine: FakeEngine, ...shown: readonly number[]) =>
  Promise.all(shown.map((each) => prompt(engine, each)));

describe('coveredRows', () => {
  it('are the image tokens', () => {
    expect(coveredRows([7, IMAGE, 8, IMAGE], IMAGE)).toEqual([1, 3]);
  });
});

describe('BatchRunner', () => {
  it.each([
    ['raw', undefined, 4 * PAGES_PER_BLOCK],
    // the text's block, the stored rows, a block of the others
    ['stored', 0, 2 * PAGES_PER_BLOCK + FITTED.pages],
  ])('keeps to the engine’s contract over many batches, pictures %s', async (_, format, pages) => {
    // Just enough for three sequences, so that a block that leaks is missed soon.
    const engine = new FakeEngine(3 * 8, [FITTED]);
    const runner = runnerOn(engine);
    for (let batch = 0; batch < 6; batch++) {
      await runner.prefill(await prompts(engine, 1, 2, 3));
      expect(engine.usedPages).toBe(3 * 4 * PAGES_PER_BLOCK);
      const texts = new Map([0, 1, 2].map((slot) => [slot, { tokens: [50, 51, 52], samples: 2 }]));
      const { logits, slots } = await runner.extend(texts, {
        newSegment: true,
        ...(format !== undefined && { format }),
      });
      expect(slots).toEqual([0, 0, 1, 1, 2, 2]);
      expect(logits.length).toBe(6 * FAKE_VOCAB);
      expect(engine.usedPages).toBe(3 * (pages + PAGES_PER_BLOCK));
      for (let token = 0; token < 20; token++) {
        await runner.extend(new Map([[token % 3, { tokens: [60], samples: 1 }]]));
      }
      runner.close();
    }
  });

  it('rewinds to the pictures, in the blocks they have, as often as it is asked to', async () => {
    const engine = new FakeEngine(2 * 8);
    const runner = runnerOn(engine);
    await runner.prefill(await prompts(engine, 1, 2));
    const held = engine.usedPages;
    const text = new Map([0, 1].map((slot) => [slot, { tokens: Array<number>(40).fill(50), samples: 1 }]));
    const first = await runner.extend(text, { newSegment: true });
    for (let round = 0; round < 5; round++) {
      await runner.rewind();
      expect(engine.usedPages).toBe(held);
      expect(await runner.extend(text, { newSegment: true })).toEqual(first);
    }
    runner.close();
    await runner.prefill(await prompts(engine, 3, 4));
  });

  it('gives image tokens the rows of their picture and positions that run on', async () => {
    const plans: StepPlan[] = [];
    class RecordingEngine extends FakeEngine {
      override step(plan: StepPlan): Promise<StepResult> {
        plans.push(plan);
        return super.step(plan);
      }
    }
    const engine = new RecordingEngine(16, [FITTED]);
    const runner = runnerOn(engine);
    const shown = await prompt(engine, 5);
    await runner.prefill([shown]);
    await runner.extend(new Map([[0, { tokens: [50, 51], samples: 1 }]]), { newSegment: true, format: 0 });
    const [first, second] = plans;
    expect([...(first?.positions ?? [])]).toEqual([...Array(2 + PICTURE.length).keys()]);
    expect([...(second?.positions ?? [])]).toEqual([2 + PICTURE.length, 3 + PICTURE.length]);
    const visual = [...(first?.imageHandles ?? [])].flatMap((handle, row) =>
      handle === shown.imageHandle ? [row] : [],
    );
    expect(visual).toEqual(coveredRows(PICTURE, IMAGE).map((row) => row + 2));
    expect(visual.map((row) => first?.imageRows[row])).toEqual([...Array(40).keys()]);
  });

  it('says when the pool is too small', async () => {
    const engine = new FakeEngine(3);
    await expect(runnerOn(engine).prefill(await prompts(engine, 1))).rejects.toThrow(/too small/);
  });
});
