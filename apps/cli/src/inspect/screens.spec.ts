import type { ClusterPages } from '@kvcapsule/contracts/cluster';
import type { WorkerLedgerView } from '@kvcapsule/platform/redis';
import { describe, expect, it } from 'vitest';
import { ledgerFaults, ledgerScreen } from './ledger-screen.js';
import { pageMap } from './page-map.js';

const POOL: ClusterPages = {
  ...{ object: 'cluster.pages', worker: 'w', page_bytes: 1024, pages_per_block: 4, pages: 100 },
  runs: [
    ['raw', 2],
    ['capsule', 3],
    ['cached', 1],
    ['free', 94],
  ],
};

describe('the map of a pool', () => {
  it('has a sign for each page and the sums', () => {
    expect(pageMap(POOL)).toBe(
      [
        'w: 100 pages of 1.0 KiB',
        `rrCCCc${'.'.repeat(90)}`,
        '....',
        '. free 94 (94.0 KiB)   r raw 2 (2.0 KiB)   C capsule 3 (3.0 KiB)   c cached 1 (1.0 KiB)',
        '',
      ].join('\n'),
    );
  });

  it('shows what most of several pages hold where the pool is large', () => {
    const map = pageMap({
      ...POOL,
      pages: 60_000,
      runs: [
        ['raw', 15_000],
        ['free', 45_000],
      ],
    });
    const [title, ...lines] = map.split('\n');
    expect(title).toBe('w: 60000 pages of 1.0 KiB, 20 a sign');
    const signs = lines.slice(0, -2).join('');
    expect([signs.length, signs.lastIndexOf('r'), signs.indexOf('.')]).toEqual([3_000, 749, 750]);
  });
});

const VIEW: WorkerLedgerView = {
  ...{ workerId: 'w', epoch: 5, capacityPages: 100, reservedPages: 7, committedPages: 30 },
  leases: [
    { leaseId: 'one', state: 'reserved', pages: 7, router: 'a', expiresInMs: 4_200 },
    { leaseId: 'two', state: 'committed', pages: 30, router: undefined, expiresInMs: undefined },
  ],
};

describe('the screen of the ledger', () => {
  it('has the sums against capacity, then the leases', () => {
    expect(ledgerScreen([VIEW])).toBe(
      [
        'WORKER  EPOCH  PAGES  RESERVED  COMMITTED  FREE  LEASES  SUMS',
        'w       5        100         7         30    63       2  right',
        '',
        'LEASE  WORKER  STATE      PAGES  ROUTER  LAPSES IN',
        'one    w       reserved       7  a             4 s',
        'two    w       committed     30  -               -',
        '',
      ].join('\n'),
    );
    expect(ledgerScreen([])).toBe('no worker has a record in this ledger\n');
  });

  it('tells sums that are not those of the leases, and more than there is', () => {
    expect(ledgerFaults(VIEW)).toEqual([]);
    expect(ledgerFaults({ ...VIEW, reservedPages: 8 })).toEqual(['7 reserved by its leases']);
    expect(ledgerFaults({ ...VIEW, committedPages: 31 })).toEqual(['30 committed by its leases']);
    expect(ledgerFaults({ ...VIEW, capacityPages: 36 })).toEqual(['more promised than there is']);
  });
});
