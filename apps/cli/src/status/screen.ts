import type { ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import { bytesText, type Column, durationText, textTable } from '../text-table.js';

type Worker = ClusterSnapshot['workers'][number];

const count = (value: number | undefined): string => (value === undefined ? '-' : String(value));

const COLUMNS: readonly Column<Worker>[] = [
  { title: 'WORKER', cell: ({ id }) => id },
  { title: 'MODEL', cell: ({ model }) => model },
  { title: 'STATE', cell: stateOf },
  {
    title: 'RUNNING',
    cell: ({ running, max_running }) => `${String(running)}/${String(max_running)}`,
    isNumber: true,
  },
  { title: 'WAITING', cell: ({ waiting }) => String(waiting), isNumber: true },
  { title: 'LEASED', cell: ({ leased_pages, pages }) => share(leased_pages, pages), isNumber: true },
  { title: 'RAW', cell: ({ held }) => count(held?.raw), isNumber: true },
  { title: 'CAPSULE', cell: ({ held }) => count(held?.capsule), isNumber: true },
  { title: 'CACHED', cell: ({ held }) => count(held?.cached), isNumber: true },
  { title: 'FREE', cell: ({ held }) => count(held?.free), isNumber: true },
  { title: 'STORED', cell: ({ held }) => (held ? bytesText(held.stored_bytes) : '-'), isNumber: true },
  { title: 'AS RAW', cell: ({ held }) => (held ? bytesText(held.raw_bytes) : '-'), isNumber: true },
  { title: 'TOKENS/S', cell: ({ tokens_per_second }) => tokens_per_second.toFixed(0), isNumber: true },
];

/** The state, and what else is amiss. */
function stateOf({ state, breaker, silent_seconds: silent }: Worker): string {
  const notes = [
    ...(breaker === 'closed' ? [] : [`breaker ${breaker}`]),
    ...(silent > 0 ? [`silent ${durationText(silent)}`] : []),
  ];
  return [state, ...notes].join(', ');
}

function share(part: number, whole: number): string {
  return whole === 0 ? '-' : `${((100 * part) / whole).toFixed(0)} %`;
}

/** Workers as a table under what router and cluster say of themselves. */
export function statusScreen(snapshot: ClusterSnapshot, url: string): string {
  const { workers } = snapshot;
  const table = workers.length === 0 ? 'no worker has registered\n' : textTable(COLUMNS, workers);
  return `${routerLine(snapshot, url)}\n${totalsLine(snapshot)}\n\n${table}`;
}

function routerLine({ at, router }: ClusterSnapshot, url: string): string {
  const others = router.routers === 1 ? 'the only router' : `one of ${String(router.routers)} routers`;
  return [
    `${url}, up for ${durationText(at - router.started_at)}, ${others}`,
    ...(router.draining ? ['it drains'] : []),
    ...(router.store_answers ? [] : ['Redis does not answer: what it said last stands']),
  ].join('; ');
}

function totalsLine({ totals }: ClusterSnapshot): string {
  const states = Object.entries(totals.workers)
    .filter(([, number]) => number > 0)
    .map(([state, number]) => `${String(number)} ${state}`);
  const times = totals.held.stored_bytes > 0 ? totals.held.raw_bytes / totals.held.stored_bytes : 1;
  return [
    `workers: ${states.length === 0 ? 'none' : states.join(', ')}`,
    `requests: ${String(totals.running)} running, ${String(totals.waiting)} waiting, ${String(totals.queued)} queued`,
    `${totals.tokens_per_second.toFixed(0)} tokens/s`,
    `KV saved: ${bytesText(totals.saved_bytes)} (${times.toFixed(1)}x)`,
  ].join(' · ');
}
