import type { ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import { bytesText, type Column, durationText, textTable } from '../text-table.js';

type Worker = ClusterSnapshot['workers'][number];

const count = (value: number | undefined): string => (value === undefined ? '-' : String(value));

/** What a terminal shows of a screen; a pipe takes all of it. */
export interface Size {
  readonly columns: number;
  readonly rows: number;
}

const ALL: Size = { columns: Infinity, rows: Infinity };

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

/** Left out one by one where a terminal is too narrow for the whole table; worker and state stay. */
const DISPENSABLE = [
  ...['AS RAW', 'FREE', 'CACHED', 'RAW', 'MODEL', 'CAPSULE'],
  ...['STORED', 'WAITING', 'LEASED', 'TOKENS/S', 'RUNNING'],
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

/** Workers as a table under what router and cluster say of themselves, as far as there is room for it. */
export function statusScreen(snapshot: ClusterSnapshot, url: string, size = ALL): string {
  const { workers } = snapshot;
  const head = [routerFacts(snapshot, url), totalsFacts(snapshot)].map((facts) =>
    wrapped(facts, size.columns),
  );
  const table = workers.length === 0 ? 'no worker has registered\n' : tableWithin(size.columns, workers);
  return cut(`${head.join('\n')}\n\n${table}`, size);
}

function tableWithin(width: number, workers: readonly Worker[]): string {
  for (let left = 0; ; left += 1) {
    const without = DISPENSABLE.slice(0, left);
    const columns = COLUMNS.filter(({ title }) => !without.includes(title));
    const table = textTable(columns, workers);
    if (left === DISPENSABLE.length || table.split('\n').every((line) => line.length <= width)) return table;
  }
}

interface Facts {
  readonly facts: readonly string[];
  readonly between: string;
}

/** On as few lines as hold them whole. */
function wrapped({ facts, between }: Facts, width: number): string {
  return facts.reduce((text, fact) => {
    const line = text.slice(text.lastIndexOf('\n') + 1);
    const fits = line.length + between.length + fact.length <= width;
    return `${text}${fits ? between : `${between.trimEnd()}\n`}${fact}`;
  });
}

/** What goes beyond a terminal's edge would break its lines, and one line too many scroll the first ones away. */
function cut(text: string, { columns, rows }: Size): string {
  const lines = text.trimEnd().split('\n');
  const most = Math.max(1, rows - 1);
  const shown =
    lines.length <= most ? lines : [...lines.slice(0, most - 1), `${lines.length - most + 1} lines more`];
  return `${shown.map((line) => (line.length <= columns ? line : `${line.slice(0, columns - 1)}…`)).join('\n')}\n`;
}

function routerFacts({ at, router }: ClusterSnapshot, url: string): Facts {
  const others = router.routers === 1 ? 'the only router' : `one of ${String(router.routers)} routers`;
  const facts = [
    `${url}, up for ${durationText(at - router.started_at)}, ${others}`,
    ...(router.draining ? ['it drains'] : []),
    ...(router.store_answers ? [] : ['Redis does not answer: what it said last stands']),
  ];
  return { facts, between: '; ' };
}

function totalsFacts({ totals }: ClusterSnapshot): Facts {
  const states = Object.entries(totals.workers)
    .filter(([, number]) => number > 0)
    .map(([state, number]) => `${String(number)} ${state}`);
  const times = totals.held.stored_bytes > 0 ? totals.held.raw_bytes / totals.held.stored_bytes : 1;
  const facts = [
    `workers: ${states.length === 0 ? 'none' : states.join(', ')}`,
    `requests: ${String(totals.running)} running, ${String(totals.waiting)} waiting, ${String(totals.queued)} queued`,
    `${totals.tokens_per_second.toFixed(0)} tokens/s`,
    `KV saved: ${bytesText(totals.saved_bytes)} (${times.toFixed(1)}x)`,
  ];
  return { facts, between: ' · ' };
}
