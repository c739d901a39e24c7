import { expect, it } from 'vitest';

import { createMetrics, exposeTogether, formatOf, metricsOfProcess } from './index.js';

const TRACES = ['0af7651916cd43dd8448eb211c80319c', '1af7651916cd43dd8448eb211c80319c'] as const;

/** A process in which one request has ended. */
function process(seconds: number, traceId?: string) {
  const metrics = createMetrics('router');
  metrics.requests.inc({ model: 'demo', status: '200', code: 'ok' });
  metrics.timeToFirstToken.labels({ model: 'demo' }).observe(seconds, traceId);
  return metricsOfProcess(metrics);
}

it.each([
  [undefined, 'text'],
  ['text/plain', 'text'],
  ['application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3', 'openmetrics'],
  ['text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5', 'text'],
  ['application/openmetrics-text;q=0', 'text'],
])('takes the format from the header accept: %s', (accept, format) => {
  expect(formatOf(accept)).toBe(format);
});

it('names the trace of an observation in OpenMetrics, those of all processes', async () => {
  const processes = await Promise.all([process(0.2, TRACES[0]), process(0.7, TRACES[1]), process(0.3)]);
  const text = await exposeTogether(processes, 'openmetrics');
  const bucket = 'kvcapsule_router_time_to_first_token_seconds_bucket';
  expect(text).toMatch(
    new RegExp(`^${bucket}{le="0.25",model="demo"} 1 # {trace_id="${TRACES[0]}"} 0.2 \\d+`, 'm'),
  );
  expect(text).toMatch(
    new RegExp(`^${bucket}{le="1",model="demo"} 3 # {trace_id="${TRACES[1]}"} 0.7 \\d+`, 'm'),
  );
  expect(text).toMatch(new RegExp(`^${bucket}{le="0.5",model="demo"} 2$`, 'm'));
  expect(text).toContain('\n# TYPE kvcapsule_router_requests counter\n');
  expect(text).toContain('\nkvcapsule_router_requests_total{model="demo",status="200",code="ok"} 3\n');
  expect(text.endsWith('\n# EOF\n')).toBe(true);
});

it('has none in the plain format', async () => {
  const text = await exposeTogether([await process(0.2, TRACES[0])]);
  expect(text).not.toContain('trace_id');
  expect(text).toContain('\nkvcapsule_router_requests_total{model="demo",status="200",code="ok"} 1\n');
});
