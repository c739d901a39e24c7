import type { Board } from './board.js';
import { p99By, rate } from './queries.js';

export const store: Board = {
  name: 'store',
  title: 'KVCapsule / Store',
  description: 'Whether Redis answers in time, and how fresh what routers know from it is.',
  rows: [
    {
      title: 'Is the store there?',
      panels: [
        {
          kind: 'stat',
          title: 'Ledger',
          description:
            'Whether the ledger answers every router in time; while it does not, requests go on without it.',
          query: { expr: 'max(kvcapsule_router_ledger_away)', legend: 'ledger' },
          unit: 'none',
          names: [
            { value: 0, text: 'there', colour: 'green' },
            { value: 1, text: 'away', colour: 'red' },
          ],
          width: 8,
          runbook: 'store-away',
        },
        {
          kind: 'stat',
          title: 'Age of what is known',
          description:
            'Since what workers say was last read, of the router that lags most: a quarter of a second at most.',
          query: { expr: 'max(kvcapsule_router_registry_age_seconds)', legend: 'age' },
          unit: 's',
          thresholds: [
            { from: -Infinity, colour: 'green' },
            { from: 1, colour: 'yellow' },
            { from: 6, colour: 'red' },
          ],
          width: 8,
          runbook: 'registry-stale',
        },
        {
          kind: 'stat',
          title: 'Provisional leases',
          description: 'Share of reservations that were made without the ledger.',
          query: {
            expr: '(sum(rate(kvcapsule_router_reservations_total{outcome="provisional"}[$__rate_interval])) or vector(0)) / sum(rate(kvcapsule_router_reservations_total[$__rate_interval]))',
            legend: 'provisional',
          },
          unit: 'percentunit',
          thresholds: [
            { from: -Infinity, colour: 'green' },
            { from: 0.01, colour: 'yellow' },
            { from: 0.5, colour: 'red' },
          ],
          noValue: 'no requests',
          width: 8,
          runbook: 'store-away',
        },
      ],
    },
    {
      title: 'Ledger',
      panels: [
        {
          kind: 'areas',
          title: 'Reservations',
          description:
            'Pages set aside for requests each second: in the ledger, without it (provisional), or refused by the worker after either.',
          queries: [{ expr: rate('kvcapsule_router_reservations_total', 'outcome'), legend: '{{outcome}}' }],
          unit: 'ops',
          width: 6,
          runbook: 'store-away',
        },
        {
          kind: 'areas',
          title: 'Leases on workers',
          description:
            'Leases of requests that workers took or refused each second, reserved or provisional.',
          queries: [
            { expr: rate('kvcapsule_worker_leases_total', 'kind, outcome'), legend: '{{kind}}, {{outcome}}' },
          ],
          unit: 'ops',
          width: 6,
        },
        {
          kind: 'bars',
          title: 'Refused by the ledger',
          description:
            'Reservations each second that were refused: no room on that worker, no record of it, or an epoch that is over.',
          queries: [
            {
              expr: rate('kvcapsule_router_ledger_refusals_total', 'reason'),
              legend: '{{reason}}',
              mayBeEmpty: 'workers have room',
            },
          ],
          unit: 'ops',
          width: 6,
        },
        {
          kind: 'lines',
          title: 'Ledger away',
          description: '1 where the ledger did not answer a router in time, for however short a while.',
          queries: [
            {
              expr: 'max_over_time(kvcapsule_router_ledger_away[$__rate_interval])',
              legend: '{{instance}}',
            },
          ],
          unit: 'none',
          max: 1,
          width: 6,
          runbook: 'store-away',
        },
      ],
    },
    {
      title: 'Redis',
      panels: [
        {
          kind: 'lines',
          title: 'Answers of Redis to routers, p99',
          description:
            'By verb of the ledger. A request waits for reserve, 250 ms at most; that is the line.',
          queries: [p99By('kvcapsule_router_redis_seconds', 'verb')],
          unit: 's',
          thresholds: [{ from: 0.25, colour: 'red' }],
          width: 6,
          runbook: 'store-slow',
        },
        {
          kind: 'lines',
          title: 'Answers of Redis to workers, p99',
          description: 'By verb of ledger and registry; no request waits for these.',
          queries: [p99By('kvcapsule_worker_redis_seconds', 'verb')],
          unit: 's',
          width: 6,
          runbook: 'store-slow',
        },
        {
          kind: 'bars',
          title: 'Verbs not answered',
          description: 'Verbs each second that Redis did not answer in time, or not as it should.',
          queries: [
            {
              expr: rate('kvcapsule_router_redis_errors_total', 'verb'),
              legend: 'router {{verb}}',
              mayBeEmpty: 'Redis answers',
            },
            {
              expr: rate('kvcapsule_worker_redis_errors_total', 'verb'),
              legend: 'worker {{verb}}',
              mayBeEmpty: 'Redis answers',
            },
          ],
          unit: 'ops',
          width: 6,
          runbook: 'store-away',
        },
        {
          kind: 'lines',
          title: 'Memory of Redis',
          description: 'What it uses, and the most that it may (maxmemory; no line where it has no bound).',
          queries: [
            { expr: 'max(kvcapsule_router_store_memory_bytes)', legend: 'used' },
            {
              expr: 'max(kvcapsule_router_store_memory_limit_bytes) > 0',
              legend: 'maxmemory',
              mayBeEmpty: 'maxmemory is set by few',
            },
          ],
          unit: 'bytes',
          width: 6,
          runbook: 'store-memory-short',
        },
      ],
    },
    {
      title: 'Registry and owners',
      panels: [
        {
          kind: 'lines',
          title: 'Age of what is known, by router',
          description: 'Since what workers say was last read.',
          queries: [{ expr: 'kvcapsule_router_registry_age_seconds', legend: '{{instance}}' }],
          unit: 's',
          thresholds: [{ from: 6, colour: 'red' }],
          width: 6,
          runbook: 'registry-stale',
        },
        {
          kind: 'areas',
          title: 'Announcements of workers',
          description: 'Read each second: taken, or skipped (not understood, or of no worker that is there).',
          queries: [
            { expr: rate('kvcapsule_router_registry_entries_total', 'outcome'), legend: '{{outcome}}' },
          ],
          unit: 'ops',
          width: 6,
        },
        {
          kind: 'bars',
          title: 'Read anew',
          description:
            'How often everything was read again since announcements had been missed: of workers (registry), of their caches (owners).',
          queries: [
            { expr: 'sum(rate(kvcapsule_router_registry_gaps_total[$__rate_interval]))', legend: 'registry' },
            { expr: 'sum(rate(kvcapsule_router_owners_gaps_total[$__rate_interval]))', legend: 'owners' },
          ],
          unit: 'ops',
          width: 6,
        },
        {
          kind: 'lines',
          title: 'Silence about caches',
          description:
            'Since the last word on its caches of the worker that has been silent longest; each speaks every 10 s.',
          queries: [{ expr: 'kvcapsule_router_owners_silence_seconds', legend: '{{instance}}' }],
          unit: 's',
          thresholds: [{ from: 30, colour: 'red' }],
          width: 6,
          runbook: 'owners-silent',
        },
      ],
    },
  ],
};
