import type { Board } from './board.js';
import { FAILED_OVER, READY_WORKERS } from './common-panels.js';
import { nodeOf, rate, share, totalRate } from './queries.js';

export const cluster: Board = {
  name: 'cluster',
  title: 'KVCapsule / Cluster and placement',
  description: 'Who is there, who gets which requests and why, and what happens when a worker fails.',
  rows: [
    {
      title: 'Who is there',
      panels: [
        READY_WORKERS,
        {
          kind: 'stat',
          title: 'Routers',
          description: 'Routers that are scraped, each with one process or several.',
          query: { expr: 'count(kvcapsule_router_workers)', legend: 'routers' },
          unit: 'none',
          thresholds: [
            { from: -Infinity, colour: 'red' },
            { from: 1, colour: 'green' },
          ],
          width: 4,
        },
        {
          kind: 'stat',
          title: 'Models unserved',
          description: 'Models that are served and that no worker is ready for.',
          query: {
            expr: 'count(max by (model) (kvcapsule_router_model_workers) == 0) or vector(0)',
            legend: 'models',
          },
          unit: 'none',
          thresholds: [
            { from: -Infinity, colour: 'green' },
            { from: 1, colour: 'red' },
          ],
          width: 4,
          runbook: 'model-without-worker',
        },
        {
          kind: 'stat',
          title: 'Breakers not closed',
          description:
            'Workers that a router leaves alone since they failed again and again, or is trying anew.',
          query: {
            expr: 'max(sum by (instance) (kvcapsule_router_worker_breakers{state!="closed"}))',
            legend: 'open',
          },
          unit: 'none',
          thresholds: [
            { from: -Infinity, colour: 'green' },
            { from: 1, colour: 'red' },
          ],
          noValue: '0',
          width: 4,
          runbook: 'worker-flapping',
        },
        {
          kind: 'stat',
          title: 'Failed over',
          description: 'Requests whose worker failed, in the time that is shown.',
          query: {
            expr: 'sum(increase(kvcapsule_router_failovers_total[$__range]))',
            legend: 'failed over',
            mayBeEmpty: 'no worker fails',
          },
          unit: 'short',
          decimals: 0,
          thresholds: [
            { from: -Infinity, colour: 'green' },
            { from: 1, colour: 'yellow' },
          ],
          noValue: '0',
          width: 4,
          runbook: 'worker-flapping',
        },
        {
          kind: 'stat',
          title: 'Tokens resumed',
          description: 'Tokens of answers that went on with another worker, in the time that is shown.',
          query: { expr: 'sum(increase(kvcapsule_router_resumed_tokens_total[$__range]))', legend: 'tokens' },
          unit: 'short',
          decimals: 0,
          width: 4,
        },
      ],
    },
    {
      title: 'What they serve, and in which version',
      panels: [
        {
          kind: 'lines',
          title: 'Ready workers by model',
          description: 'Workers that are ready for each model.',
          queries: [{ expr: 'max by (model) (kvcapsule_router_model_workers)', legend: '{{model}}' }],
          unit: 'short',
          width: 12,
          runbook: 'model-without-worker',
        },
        {
          kind: 'areas',
          title: 'Routers and workers by version',
          description: 'Two versions of one part are an upgrade under way, or one that stopped halfway.',
          queries: [
            {
              expr: 'count by (component, version) (kvcapsule_build_info)',
              legend: '{{component}} {{version}}',
            },
          ],
          unit: 'short',
          decimals: 0,
          width: 12,
        },
      ],
    },
    {
      title: 'Who gets what',
      panels: [
        {
          kind: 'areas',
          title: 'Requests running by worker',
          description: 'Requests that take part in steps.',
          queries: [{ expr: 'kvcapsule_worker_requests_running', legend: '{{instance}}' }],
          unit: 'short',
          width: 8,
        },
        {
          kind: 'areas',
          title: 'Requests by worker',
          description: 'Requests that arrive at each worker each second.',
          queries: [
            { expr: rate('kvcapsule_worker_requests_started_total', 'instance'), legend: '{{instance}}' },
          ],
          unit: 'reqps',
          width: 8,
        },
        {
          kind: 'areas',
          title: 'Why that worker',
          description:
            'Placements each second by the scorer that told: the one by which the chosen worker was better; only or even where none did.',
          queries: [{ expr: rate('kvcapsule_router_placements_total', 'reason'), legend: '{{reason}}' }],
          unit: 'reqps',
          width: 8,
        },
        {
          kind: 'lines',
          title: 'Prompt tokens found in cache, by worker',
          description:
            'Share of prompt tokens that were not computed: what placing requests by cache brings.',
          queries: [
            {
              expr: share(
                rate('kvcapsule_worker_prefix_cache_tokens_total{outcome="hit"}', 'instance'),
                rate('kvcapsule_worker_prefix_cache_tokens_total', 'instance'),
              ),
              legend: '{{instance}}',
            },
          ],
          unit: 'percentunit',
          max: 1,
          width: 12,
        },
        {
          kind: 'areas',
          title: 'Requests ended on workers, by reason',
          description:
            'stop: the model ended; length: the limit of tokens; abort: the client left; error: a fault.',
          queries: [{ expr: rate('kvcapsule_worker_requests_total', 'reason'), legend: '{{reason}}' }],
          unit: 'reqps',
          width: 12,
        },
      ],
    },
    {
      title: 'When a worker fails',
      panels: [
        FAILED_OVER,
        {
          kind: 'lines',
          title: 'Breakers by state',
          description: 'Workers by the state of their circuit breaker, as the router that sees most of them.',
          queries: [{ expr: 'max by (state) (kvcapsule_router_worker_breakers)', legend: '{{state}}' }],
          unit: 'short',
          width: 8,
          runbook: 'worker-flapping',
        },
        {
          kind: 'bars',
          title: 'Breakers opened',
          description: 'How often a router began to leave a worker alone, after a probe in vain too.',
          queries: [{ expr: totalRate('kvcapsule_router_breaker_openings_total'), legend: 'opened' }],
          unit: 'ops',
          width: 8,
          runbook: 'worker-flapping',
        },
      ],
    },
    {
      title: 'What routers know, and what the parts take',
      panels: [
        {
          kind: 'lines',
          title: 'Cached content known',
          description:
            'Blocks, pictures and features in workers’ caches that a router knows of, and each counted once for every worker that holds it.',
          queries: [
            { expr: 'max(kvcapsule_router_owners_names)', legend: 'names' },
            { expr: 'max(kvcapsule_router_owners_pairs)', legend: 'names × workers' },
          ],
          unit: 'short',
          width: 6,
        },
        {
          kind: 'lines',
          title: 'Memory of what routers know',
          description: 'Bytes that a router keeps of workers’ caches.',
          queries: [{ expr: 'kvcapsule_router_owners_bytes', legend: '{{instance}}' }],
          unit: 'bytes',
          width: 6,
        },
        {
          kind: 'lines',
          title: 'Cores in use',
          description: 'Cores that each part keeps busy; a router’s processes count together.',
          queries: [
            {
              expr: nodeOf('router', 'rate(process_cpu_seconds_total[$__rate_interval])'),
              legend: 'router {{instance}}',
            },
            {
              expr: nodeOf('worker', 'rate(process_cpu_seconds_total[$__rate_interval])'),
              legend: 'worker {{instance}}',
            },
          ],
          unit: 'short',
          width: 6,
        },
        {
          kind: 'lines',
          title: 'Memory',
          description: 'Resident memory of each part.',
          queries: [
            { expr: nodeOf('router', 'process_resident_memory_bytes'), legend: 'router {{instance}}' },
            { expr: nodeOf('worker', 'process_resident_memory_bytes'), legend: 'worker {{instance}}' },
          ],
          unit: 'bytes',
          width: 6,
          runbook: 'memory-short',
        },
      ],
    },
  ],
};
