import { OBJECTIVES } from '../rules/slo.js';
import type { StatPanel, TimePanel } from './board.js';
import { quantiles, rate } from './queries.js';

/* Panels that stand on more than one dashboard. */

const { firstToken, nextToken } = OBJECTIVES;

export const READY_WORKERS: StatPanel = {
  kind: 'stat',
  title: 'Ready workers',
  description: 'Workers whose heartbeat is fresh, as the routers see them.',
  query: { expr: 'max(kvcapsule_router_workers)', legend: 'workers' },
  unit: 'none',
  thresholds: [
    { from: -Infinity, colour: 'red' },
    { from: 1, colour: 'green' },
  ],
  width: 4,
  runbook: 'no-worker',
};

export const FIRST_TOKEN: TimePanel = {
  kind: 'lines',
  title: 'Time to first token',
  description: 'From the arrival of a request to its first token. The line is the objective for p95.',
  queries: quantiles('kvcapsule_router_time_to_first_token_seconds'),
  unit: 's',
  thresholds: [{ from: firstToken.withinSeconds, colour: 'red' }],
  width: 8,
  runbook: 'first-token-slow',
};

export const NEXT_TOKEN: TimePanel = {
  kind: 'lines',
  title: 'Between tokens',
  description: 'Between two tokens of one answer. The line is the objective for p99.',
  queries: quantiles('kvcapsule_router_inter_token_latency_seconds'),
  unit: 's',
  thresholds: [{ from: nextToken.withinSeconds, colour: 'red' }],
  width: 8,
  runbook: 'next-token-slow',
};

export const PAGES_IN_USE: TimePanel = {
  kind: 'lines',
  title: 'Pages in use',
  description: 'Share of each worker’s pool that requests hold. Near 100 % requests wait, or are put back.',
  queries: [
    {
      expr: 'sum by (instance) (kvcapsule_worker_pages{state=~"raw|rows|capsule"}) / sum by (instance) (kvcapsule_worker_pages)',
      legend: '{{instance}}',
    },
  ],
  unit: 'percentunit',
  max: 1,
  thresholds: [{ from: 0.9, colour: 'red' }],
  width: 8,
  runbook: 'pages-short',
};

export const FAILED_OVER: TimePanel = {
  kind: 'bars',
  title: 'Failed over, by outcome',
  description:
    'Requests each second whose worker failed: started again, gone on elsewhere, or given up (no_worker, over_budget, exhausted).',
  queries: [
    {
      expr: rate('kvcapsule_router_failovers_total', 'outcome'),
      legend: '{{outcome}}',
      mayBeEmpty: 'no worker fails',
    },
  ],
  unit: 'reqps',
  width: 8,
  runbook: 'worker-flapping',
};
