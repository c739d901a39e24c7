import type { ClusterRequestDetail, ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import { bytesText, type Column, durationText, textTable } from '../text-table.js';

type Fact = readonly [name: string, value: string];

function factsText(facts: readonly Fact[]): string {
  const width = Math.max(...facts.map(([name]) => name.length));
  return facts.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join('');
}

const seconds = (from: number, to: number | null): string =>
  to === null ? '-' : `${(to - from).toFixed(3)} s`;
const ratio = (raw: number, stored: number): string => (stored > 0 ? ` (${(raw / stored).toFixed(1)}x)` : '');

type Placed = ClusterRequestDetail['placements'][number];

const PLACEMENTS: readonly Column<Placed>[] = [
  { title: 'WORKER', cell: ({ worker }) => worker },
  { title: 'EPOCH', cell: ({ epoch }) => String(epoch) },
  { title: 'REASON', cell: ({ reason }) => reason },
  {
    title: 'HELD',
    cell: ({ held_tokens, prompt_tokens }) => `${String(held_tokens)}/${String(prompt_tokens)}`,
    isNumber: true,
  },
  { title: 'PAGES', cell: ({ pages }) => String(pages), isNumber: true },
  { title: 'CODEC', cell: ({ codec }) => codec },
  { title: 'COST', cell: ({ cost }) => cost.toFixed(0), isNumber: true },
  {
    title: 'OF WHICH',
    cell: ({ costs }) =>
      Object.entries(costs)
        .map(([part, cost]) => `${part} ${cost.toFixed(0)}`)
        .join(', '),
  },
];

const OTHERS: readonly Column<ClusterRequestDetail['others'][number]>[] = [
  { title: 'SERIAL', cell: ({ serial }) => String(serial) },
  { title: 'TENANT', cell: ({ tenant }) => tenant },
  { title: 'STATE', cell: ({ state }) => state },
  { title: 'STARTED', cell: ({ started_at }) => new Date(started_at * 1_000).toISOString() },
];

/** Where a request is or was, its times, what its KV took, and why its workers had it. */
export function requestDetails({ request, placements, others }: ClusterRequestDetail): string {
  const { kv } = request;
  const facts: Fact[] = [
    ['request', request.id],
    ['state', request.error === null ? request.state : `${request.state} (${request.error})`],
    ['tenant', request.tenant],
    ['model', request.model],
    ['worker', request.worker ?? 'none yet'],
    [
      'prompt',
      `${countOf(request.prompt_tokens)} tokens, ${countOf(request.cached_tokens)} cached, ${String(request.pictures)} pictures`,
    ],
    ['answer', `${String(request.completion_tokens)} tokens`],
    ['codec', request.codec ?? 'not chosen yet'],
    ['first token after', seconds(request.started_at, request.first_token_at)],
    ['ended after', seconds(request.started_at, request.ended_at)],
    ...(kv === null
      ? []
      : [
          [
            'KV',
            `${bytesText(kv.bytes)} for ${bytesText(kv.raw_bytes)} raw${ratio(kv.raw_bytes, kv.bytes)}`,
          ] as const,
          [
            'of it pictures',
            `${bytesText(kv.pictures.bytes)} for ${bytesText(kv.pictures.raw_bytes)} raw${ratio(kv.pictures.raw_bytes, kv.pictures.bytes)}`,
          ] as const,
        ]),
  ];
  const table = placements.length === 0 ? 'no worker has had it\n' : textTable(PLACEMENTS, placements);
  const more = others.length === 0 ? '' : `\nothers of this id, by --serial:\n${textTable(OTHERS, others)}`;
  return `${factsText(facts)}\n${table}${more}`;
}

const countOf = (value: number | null): string => (value === null ? '?' : String(value));

type Worker = ClusterSnapshot['workers'][number];

/** Everything that a router knows of a worker. */
export function workerDetails(worker: Worker): string {
  const { held } = worker;
  return factsText([
    ['worker', worker.id],
    ['state', worker.state],
    ['breaker', worker.breaker],
    ['last heard', worker.silent_seconds === 0 ? 'in time' : `${durationText(worker.silent_seconds)} ago`],
    ['epoch', String(worker.epoch)],
    ['address', worker.address ?? 'told to an admin’s key alone'],
    ['model', worker.model],
    ['default codec', worker.codec],
    [
      'requests',
      `${String(worker.running)} of ${String(worker.max_running)} running, ${String(worker.waiting)} waiting`,
    ],
    ['tokens/s', worker.tokens_per_second.toFixed(1)],
    [
      'pages',
      `${String(worker.pages)} of ${bytesText(worker.page_bytes)}, ${String(worker.leased_pages)} leased`,
    ],
    ...(held === null
      ? []
      : [
          [
            'held',
            `${String(held.raw)} raw, ${String(held.capsule)} capsule, ${String(held.cached)} cached, ${String(held.free)} free, ${String(held.swapped)} swapped`,
          ] as const,
          [
            'stored',
            `${bytesText(held.stored_bytes)} for ${bytesText(held.raw_bytes)} raw${ratio(held.raw_bytes, held.stored_bytes)}`,
          ] as const,
        ]),
  ]);
}
