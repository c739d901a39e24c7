import { createMetrics, exposeTogether, metricsOfProcess } from '@kvcapsule/platform/telemetry';
import { expect, it } from 'vitest';
import { KnownCounts } from './known-counts.js';

/** What a process tells that has answered so many requests, the last of which took a second. */
function process(requests: number) {
  const metrics = createMetrics('router');
  metrics.requests.inc({ model: 'demo', status: '200', code: 'ok' }, requests);
  metrics.requestsRunning.set(requests);
  metrics.requestDuration.labels({ model: 'demo' }).observe(1);
  return metricsOfProcess(metrics);
}

const [ONE, OTHER] = [{ name: 'one' }, { name: 'other' }];

async function told(counts: KnownCounts<object>, ...answering: readonly object[]): Promise<string[]> {
  const text = await exposeTogether([await counts.without(new Set(answering))]);
  return text
    .split('\n')
    .filter((line) => /^kvcapsule_router_request(s_total|s_running|_duration_seconds_count)/.test(line));
}

it('tells what processes had counted that do not answer, and none of their gauges', async () => {
  const counts = new KnownCounts<object>();
  counts.note(ONE, await process(3));
  counts.note(OTHER, await process(4));
  counts.note(OTHER, await process(5));
  expect(await told(counts, ONE, OTHER)).toEqual([]);
  expect(await told(counts, ONE)).toEqual([
    'kvcapsule_router_request_duration_seconds_count{model="demo"} 1',
    'kvcapsule_router_requests_total{model="demo",status="200",code="ok"} 5',
  ]);
});

it('keeps what every run counted that has ended, whether or not the next one answers', async () => {
  const counts = new KnownCounts<object>();
  for (const requests of [3, 4]) {
    counts.note(ONE, await process(requests));
    counts.ended(ONE);
  }
  counts.ended(ONE);
  counts.note(ONE, await process(1));
  const ended = [
    'kvcapsule_router_request_duration_seconds_count{model="demo"} 2',
    'kvcapsule_router_requests_total{model="demo",status="200",code="ok"} 7',
  ];
  expect(await told(counts, ONE)).toEqual(ended);
  expect(await told(counts)).toEqual([
    'kvcapsule_router_request_duration_seconds_count{model="demo"} 3',
    'kvcapsule_router_requests_total{model="demo",status="200",code="ok"} 8',
  ]);
});
