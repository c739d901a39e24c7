import type { Board } from './board.js';
import { PAGES_IN_USE } from './common-panels.js';
import { quantiles, rate, share, totalRate } from './queries.js';

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
            'Keys and values of running requests: without compression and without shared pages, as raw rows in the pages there are, and as stored.',
          queries: [
            { expr: 'sum(kvcapsule_worker_kv_raw_equivalent_bytes)', legend: 'raw, nothing shared' },
            { expr: 'sum(kvcapsule_worker_kv_raw_bytes)', legend: 'raw' },
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
          title: 'Times smaller, by codec',
          description:
            'Bytes as raw 16-bit rows over bytes as stored, by codec; no line while no request holds any of it.',
          queries: [
            {
              expr: 'sum by (codec) (kvcapsule_worker_kv_raw_bytes) / (sum by (codec) (kvcapsule_worker_kv_bytes) > 0)',
              legend: '{{codec}}',
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
          title: 'Found in cache',
          description:
            'Share of prompt tokens, and of pictures by the codec that they are kept with, whose keys and values a worker held already.',
          queries: [
            {
              expr: share(
                totalRate('kvcapsule_worker_prefix_cache_tokens_total{outcome="hit"}'),
                totalRate('kvcapsule_worker_prefix_cache_tokens_total'),
              ),
              legend: 'prompt tokens',
            },
            {
              expr: `${rate('kvcapsule_worker_prefix_cache_picture_hits_total', 'codec')} / on () group_left () ${totalRate('kvcapsule_worker_prefix_cache_pictures_total')}`,
              legend: 'pictures as {{codec}}',
              mayBeEmpty: 'no picture has come twice yet',
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
          title: 'Pages by what is in them',
          description:
            'All pages of all pools: raw, rows (q8 or q4) and capsule are held by requests; cached may be gone on from; free is empty.',
          queries: [{ expr: 'sum by (state) (kvcapsule_worker_pages)', legend: '{{state}}' }],
          unit: 'short',
          width: 12,
          runbook: 'pages-short',
        },
        { ...PAGES_IN_USE, width: 12 },
      ],
    },
    {
      title: 'When pages run short',
      panels: [
        {
          kind: 'bars',
          title: 'Rungs of the ladder',
          description:
            'What workers do about short pages each second, gentlest first: evict, recompress pictures, swap, recompress text, preempt.',
          queries: [
            {
              expr: rate('kvcapsule_worker_ladder_rungs_total', 'rung'),
              legend: '{{rung}}',
              mayBeEmpty: 'pages do not run short',
            },
          ],
          unit: 'ops',
          width: 8,
          runbook: 'preemptions-high',
        },
        {
          kind: 'bars',
          title: 'Evictions, by what they made room for',
          description: 'Pieces of cached content that were given away each second.',
          queries: [
            {
              expr: rate('kvcapsule_worker_evictions_total', 'reason'),
              legend: '{{reason}}',
              mayBeEmpty: 'nothing has to make room',
            },
          ],
          unit: 'ops',
          width: 8,
        },
        {
          kind: 'lines',
          title: 'Swap in use',
          description:
            'Share of each worker’s swap that holds pages of waiting requests; full, requests are preempted.',
          queries: [
            {
              expr: 'kvcapsule_worker_swap_used_bytes / (kvcapsule_worker_swap_capacity_bytes > 0)',
              legend: '{{instance}}',
            },
          ],
          unit: 'percentunit',
          max: 1,
          thresholds: [{ from: 0.95, colour: 'red' }],
          width: 8,
          runbook: 'swap-full',
        },
        {
          kind: 'bars',
          title: 'Evicted pages',
          description: 'Pages of cached content that were given away each second.',
          queries: [
            { expr: rate('kvcapsule_worker_evicted_pages_total', 'instance'), legend: '{{instance}}' },
          ],
          unit: 'pages/s',
          width: 8,
        },
        {
          kind: 'bars',
          title: 'Swapped',
          description: 'Requests whose pages were moved each second: out of the pool, and back in.',
          queries: [
            {
              expr: rate('kvcapsule_worker_swaps_total', 'direction'),
              legend: '{{direction}}',
              mayBeEmpty: 'pages do not run short',
            },
          ],
          unit: 'ops',
          width: 8,
          runbook: 'swap-full',
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
              expr: share(
                totalRate('kvcapsule_worker_encoder_cache_lookups_total{outcome="hit"}'),
                totalRate('kvcapsule_worker_encoder_cache_lookups_total'),
              ),
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
          title: 'Memory of workers, of limit',
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
