import type { Board } from './board.js';
import { quantiles, rate, totalRate } from './queries.js';

export const memory: Board = {
  name: 'memory',
  title: 'KVCapsule / Memory and capsules',
  description: 'What the pools hold, what compression saves, and what workers do when pages run short.',
  rows: [
    {
      title: 'What capsules save',
      panels: [
        {
          kind: 'lines',
          title: 'KV bytes, raw and stored',
          description:
            'Keys and values of running requests: what they would take without compression, and what they take.',
          queries: [
            { expr: 'sum(kvcapsule_worker_kv_raw_equivalent_bytes)', legend: 'without compression' },
            { expr: 'sum(kvcapsule_worker_kv_bytes)', legend: 'stored' },
          ],
          unit: 'bytes',
          width: 8,
        },
        {
          kind: 'areas',
          title: 'Stored by codec',
          description: 'Bytes of the pages that running requests hold, by the codec of what is in them.',
          queries: [{ expr: 'sum by (codec) (kvcapsule_worker_kv_bytes)', legend: '{{codec}}' }],
          unit: 'bytes',
          width: 8,
        },
        {
          kind: 'lines',
          title: 'Times smaller',
          description:
            'Bytes without compression over bytes with it, by worker; no line while it holds nothing.',
          queries: [
            {
              expr: 'kvcapsule_worker_kv_raw_equivalent_bytes / on (job, instance) (sum by (job, instance) (kvcapsule_worker_kv_bytes) > 0)',
              legend: '{{instance}}',
            },
          ],
          unit: 'times',
          width: 8,
        },
        {
          kind: 'lines',
          title: 'Lost to rounding',
          description:
            'Share of the stored bytes that nothing was written to (rests of last pages and blocks), by codec.',
          queries: [
            {
              expr: 'sum by (codec) (kvcapsule_worker_kv_padding_bytes) / (sum by (codec) (kvcapsule_worker_kv_bytes) > 0)',
              legend: '{{codec}}',
            },
          ],
          unit: 'percentunit',
          width: 8,
        },
        {
          kind: 'lines',
          title: 'Compression time',
          description: 'Turning one picture’s span into a capsule.',
          queries: quantiles('kvcapsule_worker_compress_seconds'),
          unit: 's',
          width: 8,
        },
        {
          kind: 'lines',
          title: 'Prompt tokens found in cache',
          description:
            'Share of prompt tokens that were not computed, since a worker held their keys and values already.',
          queries: [
            {
              expr: `${totalRate('kvcapsule_worker_prefix_cache_tokens_total{outcome="hit"}')} / ${totalRate('kvcapsule_worker_prefix_cache_tokens_total')}`,
              legend: 'hits',
            },
          ],
          unit: 'percentunit',
          max: 1,
          width: 8,
        },
      ],
    },
    {
      title: 'Pages',
      panels: [
        {
          kind: 'areas',
          title: 'Pages by state',
          description:
            'All pages of all pools: held by requests, free with content that a request may go on from, free and empty.',
          queries: [
            { expr: 'sum(kvcapsule_worker_pages_held)', legend: 'held' },
            { expr: 'sum(kvcapsule_worker_pages_cached)', legend: 'cached' },
            {
              expr: 'sum(kvcapsule_worker_pages_free) - sum(kvcapsule_worker_pages_cached)',
              legend: 'empty',
            },
          ],
          unit: 'short',
          width: 12,
          runbook: 'pages-short',
        },
        {
          kind: 'lines',
          title: 'Pages in use by worker',
          description: 'Share of each worker’s pool that requests hold.',
          queries: [
            {
              expr: 'kvcapsule_worker_pages_held / (kvcapsule_worker_pages_held + kvcapsule_worker_pages_free)',
              legend: '{{instance}}',
            },
          ],
          unit: 'percentunit',
          max: 1,
          thresholds: [{ from: 0.9, colour: 'red' }],
          width: 12,
          runbook: 'pages-short',
        },
      ],
    },
    {
      title: 'When pages run short',
      panels: [
        {
          kind: 'bars',
          title: 'Steps of the ladder',
          description:
            'What workers do about short pages, gentlest first: pages evicted from the cache are beside it; pictures recompressed, requests swapped out, text recompressed, requests preempted.',
          queries: [
            { expr: totalRate('kvcapsule_worker_recompressions_total'), legend: 'pictures recompressed' },
            {
              expr: totalRate('kvcapsule_worker_swaps_total{direction="out"}'),
              legend: 'requests swapped out',
              mayBeEmpty: 'the counter has the label only once a request was moved',
            },
            { expr: totalRate('kvcapsule_worker_text_recompressions_total'), legend: 'text recompressed' },
            { expr: totalRate('kvcapsule_worker_preemptions_total'), legend: 'requests preempted' },
          ],
          unit: 'ops',
          width: 8,
          runbook: 'preemptions-high',
        },
        {
          kind: 'bars',
          title: 'Evicted from the cache',
          description: 'Pages of cached content that were given away each second; the first thing done.',
          queries: [
            { expr: rate('kvcapsule_worker_evicted_pages_total', 'instance'), legend: '{{instance}}' },
          ],
          unit: 'pages/s',
          width: 8,
        },
        {
          kind: 'bars',
          title: 'Computed again',
          description: 'Tokens of preempted requests that were computed a second time.',
          queries: [
            { expr: rate('kvcapsule_worker_recomputed_tokens_total', 'instance'), legend: '{{instance}}' },
          ],
          unit: 'tokens/s',
          width: 8,
          runbook: 'preemptions-high',
        },
      ],
    },
    {
      title: 'Pictures’ features, and the process',
      panels: [
        {
          kind: 'lines',
          title: 'Pictures found in the encoder cache',
          description: 'Share of pictures whose features were there already.',
          queries: [
            {
              expr: `${totalRate('kvcapsule_worker_encoder_cache_lookups_total{outcome="hit"}')} / ${totalRate('kvcapsule_worker_encoder_cache_lookups_total')}`,
              legend: 'hits',
            },
          ],
          unit: 'percentunit',
          max: 1,
          width: 6,
        },
        {
          kind: 'areas',
          title: 'Encoder cache',
          description: 'Bytes of picture features kept, in use or not, by worker.',
          queries: [{ expr: 'kvcapsule_worker_encoder_cache_bytes', legend: '{{instance}}' }],
          unit: 'bytes',
          width: 6,
        },
        {
          kind: 'gauges',
          title: 'Memory plan',
          description:
            'What a worker’s memory is made of when everything in it is full; the largest of all workers.',
          query: { expr: 'max by (part) (kvcapsule_worker_memory_plan_bytes)', legend: '{{part}}' },
          unit: 'bytes',
          width: 6,
        },
        {
          kind: 'lines',
          title: 'Memory of workers, of what they may have',
          description: 'Resident memory of each worker over what the machine or its control group has.',
          queries: [
            {
              expr: 'process_resident_memory_bytes / on (job, instance) kvcapsule_worker_memory_limit_bytes',
              legend: '{{instance}}',
            },
          ],
          unit: 'percentunit',
          max: 1,
          thresholds: [{ from: 0.9, colour: 'red' }],
          width: 6,
          runbook: 'memory-short',
        },
      ],
    },
  ],
};
