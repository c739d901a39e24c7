import type { KvcError } from '@kvcapsule/contracts/errors';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Receipt } from './receipt.js';
import { Receipts } from './receipts.service.js';

const receipt = (epoch: number): Receipt => ({
  ...{ workerId: 'w', epoch, reason: 'only', promptTokens: 3, heldTokens: 0, pages: 1 },
  ...{ codec: 'raw', breaker: 'closed', cost: 1, costs: { prefix: 1 } },
});
const epochsOf = (receipts: Receipts, id: string) => {
  try {
    return receipts.of(id).placements.map(({ epoch }) => epoch);
  } catch (error) {
    expect(error).toMatchObject({ code: 'NOT_FOUND' } satisfies Partial<KvcError>);
    return undefined;
  }
};

describe('receipts', () => {
  it('are kept of the last 8,192 requests', () => {
    const receipts = new Receipts();
    for (let request = 0; request <= 8_192; request += 1) receipts.note(String(request), receipt(request));
    expect(['0', '1', '8192'].map((id) => epochsOf(receipts, id))).toEqual([undefined, [1], [8_192]]);
  });

  it('tell the last eight places of each request, in their order', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'b', '__proto__')), (ids) => {
        const receipts = new Receipts();
        for (const [epoch, id] of ids.entries()) receipts.note(id, receipt(epoch));
        for (const id of new Set(ids)) {
          const epochs = [...ids.entries()].filter(([, each]) => each === id).map(([epoch]) => epoch);
          expect(epochsOf(receipts, id)).toEqual(epochs.slice(-8));
        }
      }),
      { numRuns: 100, seed: 10 },
    );
  });
});
