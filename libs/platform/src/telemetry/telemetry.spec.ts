import { readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { METRICS } from './catalogue.js';
import { createMetrics, exposeTogether, metricsOfProcess, type MetricSpec, referencePage } from './index.js';

const PAGE = readFileSync(new URL('../../../../docs/reference/metrics.md', import.meta.url), 'utf8');

const specs: MetricSpec[] = Object.values(METRICS).flatMap((component) =>
  Object.values<MetricSpec>(component),
);

describe('the catalogue', () => {
  it('is what docs/reference/metrics.md is generated from', () => {
    expect(PAGE, 'run npm run generate:metrics').toBe(referencePage());
  });

  it('names every metric once, with its unit, and counters _total', () => {
    expect(new Set(specs.map(({ name }) => name)).size).toBe(specs.length);
    for (const { name, type } of specs) {
      expect(name).toMatch(/^kvcapsule_(router|worker|build)_[a-z_]+$/);
      expect(name.endsWith('_total')).toBe(type === 'counter');
      if (type !== 'gauge') expect(/_(seconds|tokens)$/.test(name)).toBe(type === 'histogram');
    }
  });

  it('has buckets for what the engine does at real size, half a minute and more', () => {
    const { step, pictureEncode } = METRICS.worker;
    for (const { buckets } of [step, pictureEncode]) expect(Math.max(...buckets)).toBeGreaterThanOrEqual(60);
  });

  it('has buckets that rise', () => {
    for (const spec of specs) {
      if (spec.type === 'histogram') {
        expect(spec.buckets).toEqual([...new Set(spec.buckets)].sort((a, b) => a - b));
      }
    }
  });
});

describe('createMetrics', () => {
  it('exposes all metrics of its component and none of the other', async () => {
    const text = await createMetrics('worker').registry.metrics();
    for (const spec of Object.values<MetricSpec>(METRICS.worker)) {
      expect(text).toContain(`# TYPE ${spec.name} ${spec.type}\n`);
    }
    expect(text).not.toContain('kvcapsule_router_');
    expect(text).toContain('process_resident_memory_bytes');
  });

  it.each(['router', 'worker'] as const)('tells which build of a %s answers', async (component) => {
    const root = new URL('../../../../package.json', import.meta.url);
    const { version } = JSON.parse(readFileSync(root, 'utf8')) as { version: string };
    const text = await createMetrics(component).registry.metrics();
    const { node } = process.versions;
    expect(text).toContain(
      `\nkvcapsule_build_info{component="${component}",version="${version}",node="${node}"} 1\n`,
    );
  });

  it('counts in a registry of its own', async () => {
    const one = createMetrics('router');
    const other = createMetrics('router');
    one.requests.inc({ model: 'demo', status: '200', code: 'ok' });
    one.timeToFirstToken.labels({ model: 'demo' }).observe(0.2);
    expect(await one.registry.metrics()).toContain(
      'kvcapsule_router_requests_total{model="demo",status="200",code="ok"} 1',
    );
    expect(await one.registry.metrics()).toContain(
      'kvcapsule_router_time_to_first_token_seconds_bucket{le="0.25",model="demo"} 1',
    );
    expect(await other.registry.metrics()).not.toContain('code="ok"');
  });
});

describe('the metrics of several processes', () => {
  it('are sums, but workers, which all of them see, and what is the same in all', async () => {
    const processes = [2, 3].map((requests) => {
      const metrics = createMetrics('router');
      metrics.requests.inc({ model: 'demo', status: '200', code: 'ok' }, requests);
      metrics.timeToFirstToken.labels({ model: 'demo' }).observe(requests);
      metrics.requestsRunning.set(requests);
      metrics.workers.set(5);
      return metricsOfProcess(metrics);
    });
    const text = await exposeTogether(await Promise.all(processes));
    expect(text).toContain('\nkvcapsule_router_requests_total{model="demo",status="200",code="ok"} 5\n');
    expect(text).toContain(
      '\nkvcapsule_router_time_to_first_token_seconds_bucket{le="2.5",model="demo"} 1\n',
    );
    expect(text).toContain('\nkvcapsule_router_time_to_first_token_seconds_count{model="demo"} 2\n');
    expect(text).toContain('\nkvcapsule_router_requests_running 5\n');
    expect(text).toContain('\nkvcapsule_router_workers 5\n');
    expect(text).toMatch(/\nkvcapsule_build_info\{component="router",.*\} 1\n/);
  });
});
