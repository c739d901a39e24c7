import { fileURLToPath } from 'node:url';

import { DRAWN_BEFORE, greedySample, type ModelInput } from '@kvcapsule/domain/model-input';
import type { PageChange } from '@kvcapsule/domain/scheduling';
import { type NativeEngine, openEngine } from '@kvcapsule/engine';
import { buildPlan } from '@kvcapsule/engine/plan';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import { FakeEngine } from './fake-engine.js';

// The whole check may run on two busy cores.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const MODEL_DIR = fileURLToPath(new URL('../../../../deploy/models/emoji-vlm', import.meta.url));
const BLOCKS = 64;
const SLOTS = 4;
/** Numbers of the formats that both engines have: rows of 16.5/64 and 9/64 pages, and a capsule of 93 rows. */
const [Q8, Q4, CAPSULE] = [0, 1, 2];

let engines: { readonly fake: NativeEngine; readonly native: NativeEngine };

beforeAll(async () => {
  const native = await openEngine({
    ...{ modelDir: MODEL_DIR, weights: 'f32', kvDtype: 'f16', threads: 1 },
    ...{ poolBlocks: BLOCKS, maxSlots: SLOTS, maxStepTokens: 256 },
  });
  const fake = new FakeEngine(BLOCKS, [
    ...[16.5, 9].map((bytesPerToken) => ({ tokens: 0, bytesPerToken }) as const),
    { tokens: 93, pages: 3 },
  ]);
  engines = { fake, native };
});
afterAll(() => engines.native.dispose());

/** Rows behind what a slot holds. */
interface Rows {
  readonly slot: number;
  readonly segment: number;
  readonly first: number;
  readonly tokens: readonly number[];
}

const text = (count: number): number[] =>
  Array.from({ length: count }, (_, index) => 10 + ((index * 7) % 40));

function input(changes: readonly PageChange[], ...rows: Rows[]): ModelInput {
  let end = 0;
  const samples = rows.map(({ tokens }) => greedySample((end += tokens.length) - 1));
  const chunks = rows.map(({ first, ...chunk }) => ({ ...chunk, firstIndex: first, firstPosition: first }));
  return { changes, chunks, samples };
}

/** A slot with `count` rows of text in blocks from `first` on. */
function opened(slot: number, count: number, first: number): ModelInput {
  const blocks = Array.from({ length: Math.ceil(count / 16) }, (_, index) => first + index);
  const changes: PageChange[] = [
    { kind: 'open', slot },
    { kind: 'segment', slot },
    { kind: 'blocks', slot, segment: 0, blocks },
  ];
  return input(changes, { slot, segment: 0, first: 0, tokens: text(count) });
}

const range = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, at) => first + at);

async function closeAll(engine: NativeEngine): Promise<void> {
  for (let slot = 0; slot < SLOTS; slot += 1)
    await engine.step(buildPlan(input([{ kind: 'close', slot }]))).catch(() => undefined);
}

/** Which of the steps an engine takes. */
async function verdicts(engine: NativeEngine, steps: readonly ModelInput[]): Promise<boolean[]> {
  const taken: boolean[] = [];
  for (const step of steps)
    taken.push(
      await engine.step(buildPlan(step)).then(
        () => true,
        () => false,
      ),
    );
  await closeAll(engine);
  return taken;
}

const compress = (
  slot: number,
  format: number,
  pages: readonly number[],
  restRows: readonly number[] = [],
  blocks: readonly number[] = [],
): PageChange => ({ kind: 'compress', slot, segment: 0, format, pages, blocks, restRows });

/** One step that both engines are to judge alike, behind a slot 0 with 40 rows in blocks 0 to 2. */
const JUDGED: readonly (readonly [string, boolean, ModelInput])[] = [
  ['a slot opened twice', false, input([{ kind: 'open', slot: 0 }])],
  ['a slot that is not open', false, input([{ kind: 'segment', slot: 1 }])],
  ['a block out of range', false, input([{ kind: 'blocks', slot: 0, segment: 0, blocks: [BLOCKS] }])],
  ['a segment that is not there', false, input([{ kind: 'blocks', slot: 0, segment: 4, blocks: [9] }])],
  ['a block twice in a segment', false, input([{ kind: 'blocks', slot: 0, segment: 0, blocks: [9, 9] }])],
  ['rows without room', false, input([], { slot: 0, segment: 0, first: 40, tokens: text(9) })],
  ['rows with room', true, input([], { slot: 0, segment: 0, first: 40, tokens: text(8) })],
  ['rows of a slot that is not open', false, input([], { slot: 2, segment: 0, first: 0, tokens: [10] })],
  ['a token that nobody drew', false, input([], { slot: 0, segment: 0, first: 41, tokens: [DRAWN_BEFORE] })],
  [
    'a token that the step before drew',
    true,
    input([], { slot: 0, segment: 0, first: 40, tokens: [DRAWN_BEFORE] }),
  ],
  [
    'attached blocks behind a segment that is not full',
    false,
    input([{ kind: 'attachBlocks', slot: 0, segment: 0, tokens: 16, blocks: [0] }]),
  ],
  [
    'more attached tokens than blocks',
    false,
    input([
      { kind: 'open', slot: 1 },
      { kind: 'segment', slot: 1 },
      { kind: 'attachBlocks', slot: 1, segment: 0, tokens: 33, blocks: [0, 1] },
    ]),
  ],
  ['a cut inside a block', false, input([{ kind: 'split', slot: 0, segment: 0, tokens: 17 }])],
  ['a cut at a block’s edge', true, input([{ kind: 'split', slot: 0, segment: 0, tokens: 32 }])],
  ['a cut behind the last block', false, input([{ kind: 'split', slot: 0, segment: 0, tokens: 48 }])],
  ['a block copied onto itself', false, input([{ kind: 'copyBlock', from: 0, to: 0 }])],
  ['a format that is not there', false, input([compress(0, 40, range(80, 3))])],
  ['a span stored in the pages it takes', true, input([compress(0, Q8, [...range(80, 8), ...range(96, 3)])])],
  ['a page too few', false, input([compress(0, Q8, [...range(80, 8), ...range(96, 2)])])],
  ['pages that are not consecutive', false, input([compress(0, Q4, [80, 82, 83, 84, 85, 86])])],
  ['a run that crosses into the next block', false, input([compress(0, Q4, range(84, 6))])],
  ['rows that a fitted format does not keep', false, input([compress(0, CAPSULE, range(80, 3))])],
  ['rest rows beside the span', true, input([compress(0, Q4, range(80, 6), [0, 39], [20])])],
  ['rest rows that do not ascend', false, input([compress(0, Q4, range(80, 6), [39, 0], [20])])],
  ['a rest row out of range', false, input([compress(0, Q4, range(80, 6), [0, 40], [20])])],
  ['no block for the rest rows', false, input([compress(0, Q4, range(80, 6), [0, 39])])],
];

describe('the fake engine and the native one', () => {
  it.each(JUDGED)('judge %s alike', async (_name, taken, step) => {
    const steps = [opened(0, 40, 0), step];
    for (const engine of [engines.fake, engines.native])
      expect(await verdicts(engine, steps)).toEqual([true, taken]);
  });

  it('store no fitted span in another format, but rows that were packed', async () => {
    const fitted = [opened(0, 93, 0), input([compress(0, CAPSULE, range(80, 3))])];
    const again = input([compress(0, Q8, range(160, 3))]);
    const packed = [opened(0, 93, 0), input([compress(0, Q4, [...range(80, 8), ...range(96, 6)])])];
    const then = input([compress(0, CAPSULE, range(160, 3))]);
    for (const engine of [engines.fake, engines.native]) {
      expect(await verdicts(engine, [...fitted, again])).toEqual([true, true, false]);
      expect(await verdicts(engine, [...packed, then])).toEqual([true, true, true]);
    }
  });

  it('draw the same from blocks that are attached, copied, cut or moved out and back', async () => {
    for (const engine of Object.values(engines)) {
      const draw = async (step: ModelInput) => [...(await engine.step(buildPlan(step))).tokens];
      const next = (slot: number, segment = 0): Rows => ({ slot, segment, first: 40, tokens: [10] });
      await draw(opened(0, 40, 0));
      const attach = (slot: number, blocks: number[]): PageChange[] => [
        { kind: 'open', slot },
        { kind: 'segment', slot },
        { kind: 'attachBlocks', slot, segment: 0, tokens: 40, blocks },
      ];
      const copied = await draw(
        input([{ kind: 'copyBlock', from: 2, to: 10 }, ...attach(1, [0, 1, 10])], next(1)),
      );
      const pages = Int32Array.from(range(0, 24));
      await engine.writePages(Int32Array.from(range(160, 24)), await engine.readPages(pages));
      const moved = await draw(input(attach(2, [20, 21, 22]), next(2)));
      const cut = await draw(input([{ kind: 'split', slot: 0, segment: 0, tokens: 32 }], next(0, 1)));
      expect([moved, cut]).toEqual([copied, copied]);
      await closeAll(engine);
    }
  });

  it('draw the same from a stored span that another sequence attaches', async () => {
    for (const engine of Object.values(engines)) {
      const draw = async (step: ModelInput) => [...(await engine.step(buildPlan(step))).tokens];
      await draw(opened(0, 32, 0));
      const pages = [...range(80, 8), 96];
      const behind = (slot: number, block: number): PageChange[] => [
        { kind: 'segment', slot },
        { kind: 'blocks', slot, segment: 1, blocks: [block] },
      ];
      const rows = (slot: number): Rows => ({ slot, segment: 1, first: 32, tokens: [10, 11] });
      const own = await draw(input([compress(0, Q8, pages), ...behind(0, 20)], rows(0)));
      const attached: PageChange = { kind: 'attachStored', slot: 1, format: Q8, tokens: 32, pages };
      const other = await draw(input([{ kind: 'open', slot: 1 }, attached, ...behind(1, 21)], rows(1)));
      expect(other).toEqual(own);
      await closeAll(engine);
    }
  });
});
