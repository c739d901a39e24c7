import type { Board } from './board.js';
import { rate } from './queries.js';

export const tenants: Board = {
  name: 'tenants',
  title: 'KVCapsule / Tenants',
  description:
    'Who waits, for how long, and who is sent away for what. The first 32 tenants go by name, others as one.',
  rows: [
    {
      title: 'Who waits',
      panels: [
        {
          kind: 'areas',
          title: 'Waiting by tenant',
          description: 'Requests that wait for room on a worker.',
          queries: [
            {
              expr: 'sum by (tenant) (kvcapsule_router_queue_requests)',
              legend: '{{tenant}}',
              mayBeEmpty: 'nobody has waited yet',
            },
          ],
          unit: 'short',
          width: 8,
          runbook: 'queue-long',
        },
        {
          kind: 'lines',
          title: 'Time in the queue, p95 by tenant',
          description: 'From entering the queue to a place on a worker: 95 of a hundred wait for less.',
          queries: [
            {
              expr: 'histogram_quantile(0.95, sum by (le, tenant) (rate(kvcapsule_router_queue_wait_seconds_bucket[$__rate_interval])))',
              legend: '{{tenant}}',
            },
          ],
          unit: 's',
          width: 8,
          runbook: 'queue-long',
        },
        {
          kind: 'lines',
          title: 'Memory of the queue',
          description: 'Prompts and pictures of requests that wait for room.',
          queries: [{ expr: 'kvcapsule_router_queue_bytes', legend: '{{instance}}' }],
          unit: 'bytes',
          width: 8,
        },
      ],
    },
    {
      title: 'Who is served',
      panels: [
        {
          kind: 'areas',
          title: 'Let in by tenant',
          description: 'Requests each second that got a place on a worker.',
          queries: [
            { expr: rate('kvcapsule_router_queue_wait_seconds_count', 'tenant'), legend: '{{tenant}}' },
          ],
          unit: 'reqps',
          width: 12,
        },
        {
          kind: 'gauges',
          title: 'Let in, of all requests that came',
          description: 'Share of each tenant’s requests that got a place, in the time that is shown.',
          query: {
            expr: 'sum by (tenant) (increase(kvcapsule_router_queue_wait_seconds_count[$__range])) / (sum by (tenant) (increase(kvcapsule_router_queue_wait_seconds_count[$__range])) + (sum by (tenant) (increase(kvcapsule_router_refusals_total[$__range])) or 0 * sum by (tenant) (increase(kvcapsule_router_queue_wait_seconds_count[$__range]))))',
            legend: '{{tenant}}',
          },
          unit: 'percentunit',
          min: 0,
          max: 1,
          thresholds: [
            { from: -Infinity, colour: 'red' },
            { from: 0.9, colour: 'yellow' },
            { from: 0.99, colour: 'green' },
          ],
          width: 12,
        },
      ],
    },
    {
      title: 'Who is sent away',
      panels: [
        {
          kind: 'bars',
          title: 'Refused by tenant',
          description: 'Requests each second that were not let in.',
          queries: [
            {
              expr: rate('kvcapsule_router_refusals_total', 'tenant'),
              legend: '{{tenant}}',
              mayBeEmpty: 'nobody is refused while there is room',
            },
          ],
          unit: 'reqps',
          width: 12,
          runbook: 'refusals-high',
        },
        {
          kind: 'bars',
          title: 'Refused by reason',
          description:
            'cap_*: the tenant’s own limit; full, shed, wait_too_long: the queue’s; waited, deadline: there was no room in time.',
          queries: [
            {
              expr: rate('kvcapsule_router_refusals_total', 'reason, tenant'),
              legend: '{{reason}} ({{tenant}})',
              mayBeEmpty: 'nobody is refused while there is room',
            },
          ],
          unit: 'reqps',
          width: 12,
          runbook: 'refusals-high',
        },
      ],
    },
  ],
};
