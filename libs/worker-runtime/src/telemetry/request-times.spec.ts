import { createMetrics } from '@kvcapsule/platform/telemetry';
import type { RequestEvent } from '@kvcapsule/serving';
import { expect, it } from 'vitest';

import { RequestTimes } from './request-times.js';

const delta = (tokens: number): RequestEvent => ({
  kind: 'delta',
  text: '',
  tokenIds: new Array<number>(tokens).fill(1),
  logprobs: [],
});
const finished = { kind: 'finished', reason: 'stop', text: '' } as RequestEvent;
const failed: RequestEvent = { kind: 'failed', code: 'INTERNAL', message: '' };

const HISTOGRAMS = [
  ...(['requestSeconds', 'requestQueue', 'requestPrefill', 'requestDecode'] as const),
  ...(['requestInference', 'requestTimePerToken'] as const),
];

/** Seconds and number of observations of each histogram. */
async function told(metrics: ReturnType<typeof createMetrics<'worker'>>) {
  const pairs = HISTOGRAMS.map(async (name) => {
    const { values } = await metrics[name].get();
    const of = (suffix: string) => values.find(({ metricName }) => metricName?.endsWith(suffix))?.value;
    return [name, [of('_sum'), of('_count')]] as const;
  });
  return Object.fromEntries(await Promise.all(pairs));
}

it('divides the time of a request into waiting, prefill and decode', async () => {
  const metrics = createMetrics('worker');
  const times = new RequestTimes(metrics);
  times.arrived('a', 1_000);
  times.scheduled('a', 3_000);
  times.happened('a', delta(1), 7_000);
  times.happened('a', delta(2), 8_000);
  times.happened('a', delta(1), 13_000);
  times.happened('a', finished, 14_000);
  expect(await told(metrics)).toEqual({
    requestSeconds: [13, 1],
    requestQueue: [2, 1],
    requestPrefill: [4, 1],
    requestDecode: [6, 1],
    requestInference: [10, 1],
    // three tokens after the first
    requestTimePerToken: [2, 1],
  });
});

it('tells of a request what it came to, and of one that failed how long it waited', async () => {
  const metrics = createMetrics('worker');
  const times = new RequestTimes(metrics);
  times.arrived('aborted early', 0);
  times.happened('aborted early', finished, 1_000);
  times.arrived('one token', 0);
  times.scheduled('one token', 1_000);
  times.happened('one token', delta(1), 2_000);
  times.happened('one token', finished, 2_000);
  times.arrived('failed', 0);
  times.scheduled('failed', 1_000);
  times.happened('failed', failed, 2_000);
  times.happened('failed', finished, 3_000);
  times.scheduled('unknown', 1_000);
  expect(await told(metrics)).toEqual({
    requestSeconds: [3, 2],
    requestQueue: [2, 2],
    requestPrefill: [1, 1],
    requestDecode: [0, 1],
    requestInference: [1, 1],
    requestTimePerToken: [0, 0],
  });
});
