import { PageOp, type Engine, type StepPlan } from '@kvcapsule/engine';
import { describe, expect, it } from 'vitest';
import { BatchRunner } from './batch-runner.js';
import { coveredRows } from '../prompts/step-rows.js';

const IMAGE = 6;
const INFO = {
  imageTokenId: IMAGE,
  blockTokens: 16,
  pagesPerBlock: 8,
  vocab: 3,
  pageBytes: 64,
  formats: [{ codec: 'capsule', tokens: 40, markerRows: new Int32Array(), pages: 11 }],
};

interface FakeSegment {
  blocks: number[];
  tokens: number;
  /** Capsules take no more rows. */
  readonly capsule: boolean;
}

/** Keeps tables as the native engine does and fails on anything its contract forbids. */
class TableCheck {
  readonly info = INFO;
  readonly slots = new Map<number, FakeSegment[]>();

  step(plan: StepPlan): Promise<{ logits: Float32Array }> {
    this.#apply([...plan.ops]);
    let row = 0;
    for (let at = 0; at < plan.chunks.length; at += 3) {
      const [slot, number, rows] = [...plan.chunks.slice(at, at + 3)] as [number, number, number];
      const segment = this.slots.get(slot)?.[number];
      if (segment === undefined || segment.capsule)
        throw new Error(`no raw segment ${number} in slot ${slot}`);
      segment.tokens += rows;
      expect(segment.tokens).toBeLessThanOrEqual(16 * segment.blocks.length);
      expect(16 * segment.blocks.length - segment.tokens).toBeLessThan(16);
      row += rows;
    }
    expect(row).toBe(plan.tokens.length);
    this.#checkNothingShared();
    return Promise.resolve({ logits: new Float32Array(plan.samples.length * INFO.vocab) });
  }

  #apply(ops: number[]): void {
    while (ops.length > 0) {
      const [code, slot, count] = ops.splice(0, 3) as [number, number, number];
      const args = ops.splice(0, count);
      expect(args.length).toBe(count);
      this.#applyOne(code, slot, args);
    }
  }

  #applyOne(code: number, slot: number, args: number[]): void {
    const segments = this.slots.get(slot);
    expect(segments === undefined).toBe(code === PageOp.Open);
    if (code === PageOp.Open) this.slots.set(slot, []);
    if (code === PageOp.Close) this.slots.delete(slot);
    if (code === PageOp.Segment) segments?.push({ blocks: [], tokens: 0, capsule: false });
    if (code === PageOp.Blocks) segments?.[args[0]!]?.blocks.push(...args.slice(1));
    if (code === PageOp.AttachBlocks) {
      const [segment, tokens, ...blocks] = args as [number, number, ...number[]];
      expect(blocks.length).toBe(Math.ceil(tokens / INFO.blockTokens));
      segments?.splice(segment, 1, { blocks, tokens, capsule: false });
    }
    if (code === PageOp.Compress) this.#compress(segments ?? [], args);
  }

  #compress(segments: FakeSegment[], [number, format, ...lists]: number[]): void {
    const list = () => lists.splice(0, lists.shift());
    const [pages, blocks, rest] = [list(), list(), list()];
    expect(format).toBe(0);
    expect(lists).toEqual([]);
    // Rows run on within a block only: its eight pages must lie in order.
    expect(pages).toEqual(pages.map((_, index) => pages[index - (index % 8)]! + (index % 8)));
    expect(pages.every((page, index) => index % 8 !== 0 || page % 8 === 0)).toBe(true);
    const capsule = {
      blocks: [...new Set(pages.map((page) => Math.floor(page / 8)))],
      tokens: 0,
      capsule: true,
    };
    segments.splice(number!, 1, capsule, { blocks, tokens: rest.length, capsule: false });
  }

  #checkNothingShared(): void {
    const all = [...this.slots.values()].flatMap((segments) => segments.flatMap((segment) => segment.blocks));
    expect(new Set(all).size).toBe(all.length);
  }
}

const PICTURE = [7, 9, ...Array<number>(20).fill(IMAGE), 7, 10, ...Array<number>(20).fill(IMAGE), 7];
const prompt = (imageHandle: number) => ({ prefix: [1, 3], picture: PICTURE, imageHandle });

describe('coveredRows', () => {
  it('are the image tokens', () => {
    expect(coveredRows([7, IMAGE, 8, IMAGE], IMAGE)).toEqual([1, 3]);
  });
});

describe('BatchRunner', () => {
  it.each([[undefined], [0]])(
    'keeps to the engine’s contract over many batches, format %s',
    async (format) => {
      const engine = new TableCheck();
      // Just enough for three sequences, so that a block that leaks is missed soon.
      const runner = new BatchRunner(engine as unknown as Engine, 3 * 8);
      for (let batch = 0; batch < 6; batch++) {
        await runner.prefill([prompt(1), prompt(2), prompt(3)]);
        const texts = new Map([0, 1, 2].map((slot) => [slot, { tokens: [50, 51, 52], samples: 2 }]));
        const { logits, slots } = await runner.extend(texts, {
          newSegment: true,
          ...(format !== undefined && { format }),
        });
        expect(slots).toEqual([0, 0, 1, 1, 2, 2]);
        expect(logits.length).toBe(6 * INFO.vocab);
        for (let token = 0; token < 20; token++) {
          await runner.extend(new Map([[token % 3, { tokens: [60], samples: 1 }]]));
        }
        runner.close();
      }
    },
  );

  it('rewinds to the pictures, in the blocks they have, as often as it is asked to', async () => {
    const engine = new TableCheck();
    const runner = new BatchRunner(engine as unknown as Engine, 2 * 8);
    await runner.prefill([prompt(1), prompt(2)]);
    const blocksOf = () => [...engine.slots.values()].map((segments) => segments.map(({ blocks }) => blocks));
    const before = structuredClone(blocksOf());
    const text = new Map([0, 1].map((slot) => [slot, { tokens: Array<number>(40).fill(50), samples: 1 }]));
    for (let round = 0; round < 5; round++) {
      await runner.extend(text, { newSegment: true });
      await runner.rewind();
      expect(blocksOf()).toEqual(before);
    }
    runner.close();
    await runner.prefill([prompt(3), prompt(4)]);
  });

  it('gives image tokens the rows of their picture and positions that run on', async () => {
    const engine = new TableCheck();
    const plans: StepPlan[] = [];
    const recording = {
      info: INFO,
      step: (plan: StepPlan) => {
        plans.push(plan);
        return engine.step(plan);
      },
    };
    const runner = new BatchRunner(recording as unknown as Engine, 16);
    await runner.prefill([prompt(5)]);
    await runner.extend(new Map([[0, { tokens: [50, 51], samples: 1 }]]), { newSegment: true, format: 0 });
    const [first, second] = plans;
    expect([...(first?.positions ?? [])]).toEqual([...Array(2 + PICTURE.length).keys()]);
    expect([...(second?.positions ?? [])]).toEqual([2 + PICTURE.length, 3 + PICTURE.length]);
    const visual = [...(first?.imageHandles ?? [])].flatMap((handle, row) => (handle === 5 ? [row] : []));
    expect(visual).toEqual(coveredRows(PICTURE, IMAGE).map((row) => row + 2));
    expect(visual.map((row) => first?.imageRows[row])).toEqual([...Array(40).keys()]);
  });

  it('says when the pool is too small', async () => {
    const runner = new BatchRunner(new TableCheck() as unknown as Engine, 3);
    await expect(runner.prefill([prompt(1)])).rejects.toThrow(/too small/);
  });
});
