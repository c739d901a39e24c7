import { describe, expect, it } from 'vitest';
import { type Receipt, receiptHeaders } from './receipt.js';

const receipt: Receipt = {
  ...{
    workerId: 'worker-0.host_1',
    epoch: 7,
    reason: 'prefix',
    pages: 40,
    codec: 'capsule-q8',
    breaker: 'closed',
  },
  ...{ promptTokens: 640, heldTokens: 512, cost: 211.4, costs: { prefix: 128, 'last-copy': 83.4 } },
};

describe('a receipt', () => {
  it('names the worker, its epoch and the reason', () => {
    expect(receiptHeaders(receipt)).toEqual({
      'x-kvcapsule-worker': 'worker-0.host_1',
      'x-kvcapsule-worker-epoch': '7',
      'x-kvcapsule-placement':
        'reason=prefix, prompt-tokens=640, held-tokens=512, pages=40, codec=capsule-q8, cost=211, cost-prefix=128, cost-last-copy=83',
    });
  });

  it('says where the worker’s breaker was not closed', () => {
    const facts = receiptHeaders({ ...receipt, breaker: 'half-open' })['x-kvcapsule-placement'];
    expect(facts).toContain('codec=capsule-q8, breaker=half-open, cost=211');
  });

  it.each(['a\r\nset-cookie: b', 'ключ', 'half \ud83d', 'a, b=c'])(
    'has nothing that a header cannot hold: %j',
    (text) => {
      const headers = receiptHeaders({ ...receipt, workerId: text, codec: text });
      for (const value of Object.values(headers)) expect(value).toMatch(/^[\x20-\x7e]*$/);
      expect(headers['x-kvcapsule-placement']?.split(', ')).toHaveLength(8);
    },
  );
});
