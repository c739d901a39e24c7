import { COUNTED, FAULTS, OBJECTIVES } from '../rules/slo.js';
import type { Board } from './board.js';
import { FAILED_OVER, FIRST_TOKEN, NEXT_TOKEN, PAGES_IN_USE, READY_WORKERS } from './common-panels.js';
import { quantile, rate, totalRate } from './queries.js';

const GOOD = `1 - (${totalRate(FAULTS)} or vector(0)) / ${totalRate(COUNTED)}`;
const { answered, firstToken, nextToken } = OBJECTIVES;

export const overview: Board = {
  name: 'overview',
  title: 'KVCapsule / Overview',
  description: 'Whether users are happy, and how much memory capsules save.',
  rows: [
    {
      title: 'Are users happy, and what do capsules save?',
      panels: [
        {
          kind: 'stat',
          title: 'Answered',
          description:
            'Share of requests that ended without a fault of the cluster. What clients got wrong or gave up is left out.',
          query: { expr: GOOD, legend: 'answered' },
          unit: 'percentunit',
          decimals: 2,
          thresholds: [
            { from: -Infinity, colour: 'red' },
            { from: 0.99, colour: 'yellow' },
            { from: answered.share, colour: 'green' },
          ],
          noValue: 'no requests',
          width: 4,
          runbook: 'error-budget-burn',
        },
        {
          kind: 'stat',
          title: 'First token, p95',
          description: 'From the arrival of a request to its first token: 95 of a hundred are faster.',
          query: { expr: quantile(0.95, 'kvcapsule_router_time_to_first_token_seconds'), legend: 'p95' },
          unit: 's',
          thresholds: [
            { from: -Infinity, colour: 'green' },
            { from: firstToken.withinSeconds / 2, colour: 'yellow' },
            { from: firstToken.withinSeconds, colour: 'red' },
          ],
          noValue: 'no requests',
          width: 4,
          runbook: 'first-token-slow',
        },
        {
          kind: 'stat',
          title: 'Between tokens, p99',
          description: 'Between two tokens of one answer: 99 of a hundred gaps are shorter.',
          query: { expr: quantile(0.99, 'kvcapsule_router_inter_token_latency_seconds'), legend: 'p99' },
          unit: 's',
          thresholds: [
            { from: -Infinity, colour: 'green' },
            { from: nextToken.withinSeconds / 2, colour: 'yellow' },
            { from: nextToken.withinSeconds, colour: 'red' },
          ],
          noValue: 'no requests',
          width: 4,
          runbook: 'next-token-slow',
        },
        READY_WORKERS,
        {
          kind: 'stat',
          title: 'KV memory saved',
          description:
            'What the keys and values of running requests would take without compression and without pages that they share, less what they take.',
          query: {
            expr: 'sum(kvcapsule_worker_kv_raw_equivalent_bytes) - sum(kvcapsule_worker_kv_bytes)',
            legend: 'saved',
          },
          unit: 'bytes',
          decimals: 1,
          thresholds: [{ from: -Infinity, colour: 'green' }],
          width: 4,
        },
        {
          kind: 'stat',
          title: 'Times smaller',
          description:
            'Bytes of the same tokens as raw 16-bit rows over the bytes of the pages that hold them, of running requests.',
          query: {
            expr: 'sum(avg_over_time(kvcapsule_worker_kv_raw_bytes[$__rate_interval])) / (sum(avg_over_time(kvcapsule_worker_kv_bytes[$__rate_interval])) > 0)',
            legend: 'times smaller',
          },
          unit: 'times',
          decimals: 2,
          thresholds: [
            { from: -Infinity, colour: 'yellow' },
            { from: 1, colour: 'green' },
          ],
          noValue: 'idle',
          width: 4,
        },
      ],
    },
    {
      title: 'Load',
      panels: [
        {
          kind: 'areas',
          title: 'Requests by outcome',
          description: 'Requests that ended each second, by error code; ok is without an error.',
          queries: [{ expr: rate('kvcapsule_router_requests_total', 'code'), legend: '{{code}}' }],
          unit: 'reqps',
          width: 8,
        },
        {
          kind: 'lines',
          title: 'Running and waiting',
          description: 'Requests that a worker has accepted, and those that none has accepted yet.',
          queries: [
            { expr: 'sum(kvcapsule_router_requests_running)', legend: 'running' },
            { expr: 'sum(kvcapsule_router_requests_waiting)', legend: 'waiting' },
          ],
          unit: 'short',
          width: 8,
          runbook: 'queue-long',
        },
        {
          kind: 'lines',
          title: 'Tokens',
          description: 'Tokens of ended requests each second: read (prompt) and written (completion).',
          queries: [{ expr: rate('kvcapsule_router_tokens_total', 'kind'), legend: '{{kind}}' }],
          unit: 'tokens/s',
          width: 8,
        },
      ],
    },
    {
      title: 'What users feel',
      panels: [FIRST_TOKEN, NEXT_TOKEN, PAGES_IN_USE],
    },
    {
      title: 'Faults',
      panels: [
        {
          kind: 'bars',
          title: 'Refused',
          description: 'Requests that were not let in each second, by reason.',
          queries: [
            {
              expr: rate('kvcapsule_router_refusals_total', 'reason'),
              legend: '{{reason}}',
              mayBeEmpty: 'nobody is refused while there is room',
            },
          ],
          unit: 'reqps',
          width: 6,
          runbook: 'refusals-high',
        },
        { ...FAILED_OVER, width: 6 },
        {
          kind: 'areas',
          title: 'Streams that stand still',
          description: 'Requests that a worker has accepted and of which no token has come for 30 s.',
          queries: [{ expr: 'sum(kvcapsule_router_streams_stalled)', legend: 'stalled' }],
          unit: 'short',
          width: 6,
          runbook: 'streams-stuck',
        },
        {
          kind: 'bars',
          title: 'Alerts',
          description: 'Alerts of KVCapsule that fire, by name. Each has a page in the runbook.',
          queries: [
            {
              expr: 'sum by (alertname, severity) (ALERTS{alertname=~"KVCapsule.*",alertstate="firing"})',
              legend: '{{alertname}} ({{severity}})',
              mayBeEmpty: 'no alert fires',
            },
          ],
          unit: 'short',
          width: 6,
        },
      ],
    },
  ],
};
