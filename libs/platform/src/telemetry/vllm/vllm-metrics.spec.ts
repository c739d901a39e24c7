import { readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { createMetrics } from '../metrics.js';
import { addVllmRouterMetrics, addVllmWorkerMetrics } from './vllm-metrics.js';

interface Told {
  readonly type: string;
  readonly labels: readonly string[];
  readonly buckets?: readonly number[];
}

/** Of labels but the model's and the engine's. */
interface OfVllm extends Told {
  readonly values?: Readonly<Record<string, readonly string[]>>;
}

/** What vLLM tells, written by `tools/vllm-metrics.mjs`. */
const { metrics: THEIRS } = JSON.parse(
  readFileSync(new URL('vllm-metrics.json', import.meta.url), 'utf8'),
) as { readonly metrics: Readonly<Record<string, OfVllm>> };

interface Value {
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}
interface Exported {
  readonly name: string;
  readonly type: unknown;
  readonly values: readonly Value[];
}

/** In which every kind of thing has happened once. */
function worker() {
  const metrics = createMetrics('worker');
  addVllmWorkerMetrics(metrics, { modelName: 'demo', engine: 'w0', contextTokens: 8_192 });
  for (const outcome of ['hit', 'miss']) {
    metrics.prefixTokens.inc({ outcome }, outcome === 'hit' ? 30 : 70);
    metrics.encoderCacheLookups.inc({ outcome }, outcome === 'hit' ? 1 : 3);
  }
  metrics.tokens.inc({ kind: 'prompt' }, 100);
  metrics.tokens.inc({ kind: 'completion' }, 20);
  const pages = { raw: 15, rows: 0, capsule: 10, cached: 45, free: 30 };
  for (const [state, count] of Object.entries(pages)) metrics.pages.set({ state }, count);
  metrics.requestsWaiting.set(4);
  metrics.requestQueue.observe(0.4);
  metrics.stepTokens.observe(33);
  return metrics;
}

function router() {
  const metrics = createMetrics('router');
  addVllmRouterMetrics(metrics);
  metrics.timeToFirstToken.labels({ model: 'demo' }).observe(0.05);
  metrics.interTokenLatency.labels({ model: 'demo' }).observe(0.02);
  metrics.timePerOutputToken.labels({ model: 'demo' }).observe(0.02);
  metrics.requestDuration.labels({ model: 'demo' }).observe(0.9);
  metrics.finished.inc({ model: 'demo', reason: 'stop' }, 2);
  for (const [model, status, code] of [
    ['demo', '200', 'ok'],
    ['demo', '200', 'aborted'],
    ['demo', '499', 'aborted'],
    ['demo', '200', 'client_too_slow'],
    ['unknown', '499', 'aborted'],
  ] as const)
    metrics.requests.inc({ model, status, code });
  return metrics;
}

async function vllmOf({ registry }: { registry: { getMetricsAsJSON(): Promise<unknown> } }) {
  const all = (await registry.getMetricsAsJSON()) as Exported[];
  return all.filter(({ name }) => name.startsWith('vllm:'));
}

function told({ type, values }: Exported): Told {
  const labels = [...new Set(values.flatMap((value) => Object.keys(value.labels)))].filter(
    (at) => at !== 'le',
  );
  const bounds = new Set(values.flatMap((value) => value.labels['le'] ?? []));
  bounds.delete('+Inf');
  return {
    type: String(type),
    labels: labels.sort(),
    ...(type === 'histogram' && { buckets: [...bounds].map(Number) }),
  };
}

describe('metrics under vLLM’s names', () => {
  it('have its types, labels and bounds', async () => {
    const ours = [...(await vllmOf(worker())), ...(await vllmOf(router()))];
    expect(ours.length).toBeGreaterThan(20);
    for (const metric of ours) {
      const { type, labels = [], buckets } = THEIRS[metric.name] ?? {};
      const theirs = { type, labels: labels.toSorted(), ...(buckets && { buckets }) };
      expect([metric.name, told(metric)]).toEqual([metric.name, theirs]);
    }
  });

  it('have values in its labels that it has, too', async () => {
    for (const { name, values } of [...(await vllmOf(worker())), ...(await vllmOf(router()))])
      for (const [label, known] of Object.entries(THEIRS[name]?.values ?? {}))
        for (const value of values)
          expect([name, known]).toEqual([name, expect.arrayContaining([value.labels[label]])]);
  });

  it('stand with one kind of process alone, so that sums over a cluster count nothing twice', async () => {
    const names = async (of: Parameters<typeof vllmOf>[0]) => (await vllmOf(of)).map(({ name }) => name);
    const ofRouter = new Set(await names(router()));
    expect((await names(worker())).filter((name) => ofRouter.has(name))).toEqual([]);
  });

  it('say what ours say', async () => {
    const text = await worker().registry.metrics();
    const own = '{model_name="demo",engine="w0"}';
    for (const line of [
      `vllm:prefix_cache_queries_total${own} 100`,
      `vllm:prefix_cache_hits_total${own} 30`,
      `vllm:mm_cache_queries_total${own} 4`,
      `vllm:prompt_tokens_total${own} 100`,
      `vllm:generation_tokens_total${own} 20`,
      `vllm:kv_cache_usage_perc${own} 0.25`,
      `vllm:num_requests_waiting${own} 4`,
      'vllm:prompt_tokens_by_source_total{model_name="demo",engine="w0",source="local_compute"} 70',
      'vllm:request_queue_time_seconds_bucket{le="0.5",model_name="demo",engine="w0"} 1',
      'vllm:iteration_tokens_total_bucket{le="64",model_name="demo",engine="w0"} 1',
      'kvcapsule_worker_request_queue_seconds_count 1',
    ])
      expect(text).toContain(`\n${line}\n`);
    const ofRouter = await router().registry.metrics();
    expect(ofRouter).toContain(
      'vllm:request_success_total{engine="router",model_name="demo",finished_reason="stop"} 2',
    );
    expect(ofRouter).toContain(
      'vllm:request_success_total{engine="router",model_name="demo",finished_reason="abort"} 3',
    );
    expect(ofRouter.match(/^vllm:request_success_total/gm)).toHaveLength(2);
    expect(ofRouter).toContain('vllm:time_to_first_token_seconds_count{model_name="demo",engine="router"} 1');
  });
});
