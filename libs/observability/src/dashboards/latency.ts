import type { Board } from './board.js';
import { FIRST_TOKEN, NEXT_TOKEN } from './common-panels.js';
import { buckets, mean, p99By, quantile, quantiles } from './queries.js';

export const latency: Board = {
  name: 'latency',
  title: 'KVCapsule / Latency',
  description: 'Where the time of a request goes, from its arrival to its last token.',
  rows: [
    {
      title: 'What users feel',
      panels: [
        FIRST_TOKEN,
        NEXT_TOKEN,
        {
          kind: 'lines',
          title: 'Whole requests',
          description: 'From the arrival of a request to its last byte.',
          queries: quantiles('kvcapsule_router_request_duration_seconds'),
          unit: 's',
          width: 8,
        },
        {
          kind: 'heat',
          title: 'Time to first token, all values',
          description: 'How many requests fell into which bucket: two bands are two kinds of requests.',
          query: buckets('kvcapsule_router_time_to_first_token_seconds'),
          unit: 's',
          width: 12,
        },
        {
          kind: 'heat',
          title: 'Between tokens, all values',
          description: 'How many gaps fell into which bucket.',
          query: buckets('kvcapsule_router_inter_token_latency_seconds'),
          unit: 's',
          width: 12,
        },
      ],
    },
    {
      title: 'Before a worker',
      panels: [
        {
          kind: 'lines',
          title: 'In the queue',
          description: 'From entering the queue to a place on a worker.',
          queries: quantiles('kvcapsule_router_queue_wait_seconds'),
          unit: 's',
          width: 8,
          runbook: 'queue-long',
        },
        {
          kind: 'lines',
          title: 'Pictures at the router, p95',
          description: 'Getting the file of one picture, and reading kind and size of it.',
          queries: [
            { expr: quantile(0.95, 'kvcapsule_router_image_fetch_seconds'), legend: 'fetch' },
            { expr: quantile(0.95, 'kvcapsule_router_image_inspect_seconds'), legend: 'inspect' },
          ],
          unit: 's',
          width: 8,
        },
        {
          kind: 'lines',
          title: 'Event loops, p99',
          description:
            'How late the event loops of routers and workers run what is due. The line is for routers.',
          queries: [
            {
              ...p99By('kvcapsule_router_event_loop_lag_seconds', 'instance'),
              legend: 'router {{instance}}',
            },
            {
              ...p99By('kvcapsule_worker_event_loop_lag_seconds', 'instance'),
              legend: 'worker {{instance}}',
            },
          ],
          unit: 's',
          thresholds: [{ from: 0.1, colour: 'red' }],
          width: 8,
          runbook: 'router-event-loop-lag',
        },
      ],
    },
    {
      title: 'On a worker',
      panels: [
        {
          kind: 'areas',
          title: 'Where a request’s time goes, mean',
          description:
            'On a worker: until its first step (lease, pictures, pages, turn), from there to its first token, from its first token to its last.',
          queries: [
            mean('kvcapsule_worker_request_queue_seconds', 'waits'),
            mean('kvcapsule_worker_request_prefill_seconds', 'prefill'),
            mean('kvcapsule_worker_request_decode_seconds', 'decode'),
          ],
          unit: 's',
          width: 8,
        },
        {
          kind: 'lines',
          title: 'Pictures on a worker, p95',
          description:
            'Decoding a file, making features of it between the steps of running requests, and turning its span into a capsule.',
          queries: [
            { expr: quantile(0.95, 'kvcapsule_worker_picture_decode_seconds'), legend: 'decode' },
            { expr: quantile(0.95, 'kvcapsule_worker_picture_encode_seconds'), legend: 'encode' },
            { expr: quantile(0.95, 'kvcapsule_worker_compress_seconds'), legend: 'compress' },
          ],
          unit: 's',
          width: 8,
        },
        {
          kind: 'lines',
          title: 'Time per output token',
          description: 'Of each answer: from its first token to its last, over the tokens after the first.',
          queries: quantiles('kvcapsule_router_time_per_output_token_seconds'),
          unit: 's',
          width: 8,
        },
        {
          kind: 'lines',
          title: 'Steps, p99 by worker',
          description: 'One step of the engine over its whole batch: 99 of a hundred are shorter.',
          queries: [p99By('kvcapsule_worker_step_seconds', 'instance')],
          unit: 's',
          width: 8,
        },
        {
          kind: 'heat',
          title: 'Steps, all values',
          description: 'How many steps fell into which bucket, of all workers.',
          query: buckets('kvcapsule_worker_step_seconds'),
          unit: 's',
          width: 8,
        },
        {
          kind: 'heat',
          title: 'Tokens of a step',
          description: 'Tokens computed in one step, of prompts and answers together: how full batches are.',
          query: buckets('kvcapsule_worker_step_tokens'),
          unit: 'short',
          width: 8,
        },
      ],
    },
    {
      title: 'What is asked',
      panels: [
        {
          kind: 'heat',
          title: 'Tokens of prompts',
          description: 'Prompt tokens of requests that have ended.',
          query: buckets('kvcapsule_router_request_prompt_tokens'),
          unit: 'short',
          width: 8,
        },
        {
          kind: 'heat',
          title: 'Tokens of answers',
          description: 'Tokens of answers that have ended.',
          query: buckets('kvcapsule_router_request_completion_tokens'),
          unit: 'short',
          width: 8,
        },
        {
          kind: 'lines',
          title: 'Requests that wait on a worker',
          description: 'Accepted requests that wait for pages or for their turn.',
          queries: [{ expr: 'kvcapsule_worker_requests_waiting', legend: '{{instance}}' }],
          unit: 'short',
          width: 8,
        },
      ],
    },
  ],
};
