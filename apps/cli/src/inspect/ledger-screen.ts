import type { LeaseView, WorkerLedgerView } from '@kvcapsule/platform/redis';
import { type Column, durationText, textTable } from '../text-table.js';

type Sums = Record<LeaseView['state'], number>;

/** Pages of the leases by their state. */
function sumsOf({ leases }: WorkerLedgerView): Sums {
  const sums = { reserved: 0, committed: 0 };
  for (const { state, pages } of leases) sums[state] += pages;
  return sums;
}

/** What a look at one instant may find wrong; workers' heartbeats put sums right within two seconds. */
export function ledgerFaults(view: WorkerLedgerView): string[] {
  const { reservedPages, committedPages, capacityPages } = view;
  const sums = sumsOf(view);
  return [
    ...(sums.reserved === reservedPages ? [] : [`${String(sums.reserved)} reserved by its leases`]),
    ...(sums.committed === committedPages ? [] : [`${String(sums.committed)} committed by its leases`]),
    ...(reservedPages + committedPages <= capacityPages ? [] : ['more promised than there is']),
  ];
}

const WORKERS: readonly Column<WorkerLedgerView>[] = [
  { title: 'WORKER', cell: ({ workerId }) => workerId },
  { title: 'EPOCH', cell: ({ epoch }) => String(epoch) },
  { title: 'PAGES', cell: ({ capacityPages }) => String(capacityPages), isNumber: true },
  { title: 'RESERVED', cell: ({ reservedPages }) => String(reservedPages), isNumber: true },
  { title: 'COMMITTED', cell: ({ committedPages }) => String(committedPages), isNumber: true },
  {
    title: 'FREE',
    cell: (view) => String(view.capacityPages - view.reservedPages - view.committedPages),
    isNumber: true,
  },
  { title: 'LEASES', cell: ({ leases }) => String(leases.length), isNumber: true },
  { title: 'SUMS', cell: (view) => ledgerFaults(view).join(', ') || 'right' },
];

interface OwnedLease extends LeaseView {
  readonly workerId: string;
}

const LEASES: readonly Column<OwnedLease>[] = [
  { title: 'LEASE', cell: ({ leaseId }) => leaseId },
  { title: 'WORKER', cell: ({ workerId }) => workerId },
  { title: 'STATE', cell: ({ state }) => state },
  { title: 'PAGES', cell: ({ pages }) => String(pages), isNumber: true },
  { title: 'ROUTER', cell: ({ router }) => router ?? '-' },
  {
    title: 'LAPSES IN',
    cell: ({ expiresInMs }) =>
      expiresInMs === undefined ? '-' : durationText(Math.max(0, expiresInMs) / 1_000),
    isNumber: true,
  },
];

/** Workers with their sums against capacity, then every lease. */
export function ledgerScreen(views: readonly WorkerLedgerView[]): string {
  if (views.length === 0) return 'no worker has a record in this ledger\n';
  const leases = views.flatMap(({ workerId, leases: own }) => own.map((lease) => ({ ...lease, workerId })));
  const below = leases.length === 0 ? 'no lease\n' : textTable(LEASES, leases);
  return `${textTable(WORKERS, views)}\n${below}`;
}
