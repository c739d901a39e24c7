import { PageOp, type Engine, type StepPlan } from '@kvcapsule/engine';
import { describe, expect, it } from 'vitest';
import { textRows } from '../prompts/step-rows.js';
import { NOTHING_HELD, SpanRunner } from './span-runner.js';

const INFO = { blockTokens: 16, pagesPerBlock: 8, vocab: 3 };

interface FakeSegment {
  readonly blocks: number[];
  tokens: number;
  /** Blocks before this one belong to others too and must not be written. */
  shared: number;
  /** Capsules take no more rows. */
  readonly capsule: boolean;
}

/** Keeps tables as the native engine does and fails on anything its contract forbids. */
class TableCheck {
  readonly info = INFO;
  readonly slots = new Map<number, FakeSegment[]>();
  readonly positions: number[][] = [];

  step(plan: StepPlan): Promise<{ logits: Float32Array }> {
    this.#apply([...plan.ops]);
    for (let at = 0; at < plan.chunks.length; at += 3) {
      const [slot, number, rows] = [...plan.chunks.slice(at, at + 3)] as [number, number, number];
      const segment = this.slots.get(slot)?.[number];
      if (segment === undefined || segment.capsule)
        throw new Error(`no raw segment ${number} in slot ${slot}`);
      expect(segment.shared).toBe(0);
      segment.tokens += rows;
      expect(segment.tokens).toBeLessThanOrEqual(16 * segment.blocks.length);
    }
    this.positions.push([...plan.positions]);
    this.#checkOnlySharedIsShared();
    const logits = Float32Array.from({ length: plan.samples.length * INFO.vocab }, (_, index) => index);
    return Promise.resolve({ logits });
  }

  #apply(ops: number[]): void {
    while (ops.length > 0) {
      const [code, slot, count] = ops.splice(0, 3) as [number, number, number];
      const args = ops.splice(0, count);
      expect(args.length).toBe(count);
      const segments = this.slots.get(slot);
      expect(segments === undefined).toBe(code === PageOp.Open);
      this.#applyOne(code, slot, segments ?? [], args);
    }
  }

  #applyOne(code: number, slot: number, segments: FakeSegment[], args: number[]): void {
    const [first, second] = args as [number, number];
    if (code === PageOp.Open) this.slots.set(slot, []);
    if (code === PageOp.Close) this.slots.delete(slot);
    if (code === PageOp.Segment) segments.push({ blocks: [], tokens: 0, shared: 0, capsule: false });
    if (code === PageOp.Blocks) segments[first]?.blocks.push(...args.slice(1));
    if (code === PageOp.AttachBlocks) {
      const blocks = args.slice(2);
      expect(blocks.length).toBe(Math.ceil(second / 16));
      segments[first] = { blocks, tokens: second, shared: blocks.length, capsule: false };
    }
    if (code === PageOp.AttachStored) {
      const blocks = blocksOf(args.slice(2));
      segments.push({ blocks, tokens: second, shared: blocks.length, capsule: true });
    }
    if (code === PageOp.Compress) this.#compress(segments, args);
  }

  #compress(segments: FakeSegment[], [number, format, ...lists]: number[]): void {
    const list = () => lists.splice(0, lists.shift());
    const [pages, blocks, rest] = [list(), list(), list()];
    expect(format).toBe(2);
    expect(lists).toEqual([]);
    const source = segments[number!]!;
    expect([...blocksOf(pages), ...blocks].filter((block) => source.blocks.includes(block))).toEqual([]);
    const capsule = {
      blocks: blocksOf(pages),
      tokens: source.tokens - rest.length,
      shared: 0,
      capsule: true,
    };
    segments.splice(number!, 1, capsule, { blocks, tokens: rest.length, shared: 0, capsule: false });
  }

  /** Nothing is in two sequences unless both have attached it. */
  #checkOnlySharedIsShared(): void {
    const segments = [...this.slots.values()].flat();
    const own = segments.flatMap((segment) => segment.blocks.slice(segment.shared));
    const attached = new Set(segments.flatMap((segment) => segment.blocks.slice(0, segment.shared)));
    expect(new Set(own).size).toBe(own.length);
    expect(own.filter((block) => attached.has(block))).toEqual([]);
  }
}

/** Rows run on within a block only: its eight pages must lie in order. */
function blocksOf(pages: number[]): number[] {
  expect(pages).toEqual(pages.map((_, index) => pages[index - (index % 8)]! + (index % 8)));
  expect(pages.every((page, index) => index % 8 !== 0 || page % 8 === 0)).toBe(true);
  return [...new Set(pages.map((page) => Math.floor(page / 8)))];
}

const CHOICE = { format: 2, pages: 11, restRows: [0, 1, 21] };
const part = (length: number, from: number) => textRows(Array<number>(length).fill(9), from);

/** A prefix of two segments, compressed, and read by two questions. */
async function readTwice(runner: SpanRunner): Promise<Float32Array[][]> {
  return runner.scoped(async () => {
    const raw = await runner.grow(
      [NOTHING_HELD, NOTHING_HELD],
      [
        [part(3, 0), part(40, 3)],
        [part(3, 0), part(40, 3)],
      ],
    );
    const thin = await runner.compress(raw, CHOICE);
    expect(thin.map(({ tokens }) => tokens)).toEqual([43, 43]);
    const texts = [raw[0]!, thin[0]!, thin[0]!, thin[1]!].map((held) => ({
      held,
      tokens: [5, 6],
      samples: 2,
    }));
    const { running, logits } = await runner.read(texts);
    for (let token = 0; token < 40; token++) {
      await runner.extend(new Map(running.slice(token % 2).map((sequence) => [sequence, 7])));
    }
    runner.close(running);
    return logits;
  });
}

describe('SpanRunner', () => {
  it('shares what is held and nothing else, and leaks no block', async () => {
    const engine = new TableCheck();
    // 10 raw, 6 of capsules and rest rows, 12 of questions and answers: a block that leaks is missed soon.
    const runner = new SpanRunner(engine as unknown as Engine, 28);
    for (let batch = 0; batch < 5; batch++) {
      const logits = await readTwice(runner);
      expect(logits.map((rows) => rows.map((row) => [...row]))).toEqual(
        [0, 1, 2, 3].map((slot) =>
          [0, 1].map((sample) => [0, 1, 2].map((at) => (2 * slot + sample) * 3 + at)),
        ),
      );
    }
    expect(engine.positions[2]).toEqual([43, 44, 43, 44, 43, 44, 43, 44]);
  });

  it('says when the pool is too small, and gives everything back', async () => {
    const runner = new SpanRunner(new TableCheck() as unknown as Engine, 5);
    const grow = (tokens: number) => runner.scoped(() => runner.grow([NOTHING_HELD], [[part(tokens, 0)]]));
    await expect(grow(16 * 6)).rejects.toThrow(/too small/);
    await expect(grow(16 * 5)).resolves.toHaveLength(1);
  });
});
