import type { Board } from './board.js';
import { rate } from './queries.js';

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
          width: 8,
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
          width: 8,
        },
        {
          kind: 'lines',
          title: 'Ledger away',
          description: '1 while the ledger does not answer a router in time.',
          queries: [{ expr: 'kvcapsule_router_ledger_away', legend: '{{instance}}' }],
          unit: 'none',
          max: 1,
          width: 8,
          runbook: 'store-away',
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
          queries: [{ expr: 'kvcapsule_router_owners_silence_ms', legend: '{{instance}}' }],
          unit: 'ms',
          thresholds: [{ from: 30_000, colour: 'red' }],
          width: 6,
          runbook: 'owners-silent',
        },
      ],
    },
  ],
};
