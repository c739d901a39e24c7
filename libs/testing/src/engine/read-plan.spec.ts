import type { ModelInput } from '@kvcapsule/domain/model-input';
import type { PageChange } from '@kvcapsule/domain/scheduling';
import { buildPlan, readSamples } from '@kvcapsule/engine/plan';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { planChanges, planRows } from './read-plan.js';

const number = fc.nat(40);
const list = fc.array(number, { maxLength: 12 });
const kind = <K extends PageChange['kind']>(name: K) => fc.constant(name);

const change: fc.Arbitrary<PageChange> = fc.oneof(
  fc.record({ kind: kind('open'), slot: number }),
  fc.record({ kind: kind('close'), slot: number }),
  fc.record({ kind: kind('segment'), slot: number }),
  fc.record({ kind: kind('blocks'), slot: number, segment: number, blocks: list }),
  fc.record({
    ...{ kind: kind('compress'), slot: number, segment: number, format: number },
    ...{ pages: list, blocks: list, restRows: list },
  }),
  fc.record({ kind: kind('attachBlocks'), slot: number, segment: number, tokens: number, blocks: list }),
  fc.record({ kind: kind('attachStored'), slot: number, format: number, tokens: number, pages: list }),
  fc.record({ kind: kind('split'), slot: number, segment: number, tokens: number }),
  fc.record({ kind: kind('copyBlock'), from: number, to: number }),
);

describe('a plan', () => {
  it('says the page changes that it was made of', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
        expect(planChanges(buildPlan({ changes, chunks: [], samples: [] }))).toEqual(changes);
      }),
      { numRuns: 300, seed: 5 },
    );
  });

  it('refuses operations that are cut off or have other arguments than theirs', () => {
    const { ops } = buildPlan({
      changes: [{ kind: 'split', slot: 1, segment: 0, tokens: 16 }],
      ...{ chunks: [], samples: [] },
    });
    for (let length = 1; length < ops.length; length += 1)
      expect(() => planChanges({ ops: ops.subarray(0, length) })).toThrow();
    expect(() => planChanges({ ops: Int32Array.of(9, 1, 3, 0, 16, 0) })).toThrow(/too many/);
    expect(() => planChanges({ ops: Int32Array.of(40, 1, 0) })).toThrow(/not known/);
  });

  it('lays rows out chunk by chunk, features only where a row has them', () => {
    const features = { handle: 7, rows: [-1, 0, 1] };
    const input: ModelInput = {
      changes: [],
      chunks: [
        { slot: 2, segment: 1, firstIndex: 5, firstPosition: 5, tokens: [9, -1] },
        { slot: 0, segment: 0, firstIndex: 0, firstPosition: 3, tokens: [1, 2, 3], features },
      ],
      samples: [],
    };
    const row = (
      slot: number,
      segment: number,
      token: number,
      position: number,
      handle = -1,
      imageRow = 0,
    ) => ({
      ...{ slot, segment, token, position, handle, imageRow },
    });
    expect(planRows(buildPlan(input))).toEqual([
      row(2, 1, 9, 5),
      row(2, 1, -1, 6),
      row(0, 0, 1, 3),
      row(0, 0, 2, 4, 7, 0),
      row(0, 0, 3, 5, 7, 1),
    ]);
  });

  it('has arrays of those sampling features only that some sample uses', () => {
    const plain = { row: 0, temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n };
    const [tokens, values] = [Int32Array.of(4, 9), Float32Array.of(-1, 1)];
    const counts = Int32Array.of(0, 2);
    const penalties = { presence: 1, frequency: 2, repetition: 3, tokens, counts };
    const bare = buildPlan({ changes: [], chunks: [], samples: [plain] });
    expect([bare.minP, bare.topLogprobs, bare.penalties, bare.bias]).toEqual(Array(4).fill(undefined));
    const rich = { ...plain, row: 1, minP: 0.5, topLogprobs: 2, penalties, bias: { tokens, values } };
    const plan = buildPlan({ changes: [], chunks: [], samples: [plain, rich] });
    expect(plan).toMatchObject({
      ...{ samples: Int32Array.of(0, 1), minP: Float32Array.of(0, 0.5), topLogprobs: Int32Array.of(-1, 2) },
      penalties: { samples: Int32Array.of(1), factors: Float32Array.of(1, 2, 3), tokens, counts },
      bias: { samples: Int32Array.of(1), offsets: Int32Array.of(0, 2), tokens, values },
    });
    const drawn = readSamples(plan, {
      ...{ tokens: Int32Array.of(3, 8), logprobs: Float32Array.of(0, -0.5) },
      ...{ topTokens: Int32Array.of(8, 1), topLogprobs: Float32Array.of(-0.5, -2) },
      ...{ compressSeconds: 0, forwardSeconds: 0 },
    });
    const top = [
      { tokenId: 8, logprob: -0.5 },
      { tokenId: 1, logprob: -2 },
    ];
    expect(drawn).toEqual([{ tokenId: 3 }, { tokenId: 8, scores: { logprob: -0.5, top } }]);
  });
});
