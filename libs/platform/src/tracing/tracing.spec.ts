import { describe, expect, it } from 'vitest';

import { startTracing } from './index.js';
import { samplerOf } from './sampling.js';
import { parseTraceparent } from './trace-context.js';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';

describe('a traceparent', () => {
  it('names trace, span and whether it is recorded', () => {
    const context = { traceId: TRACE, spanId: SPAN };
    expect(parseTraceparent(`00-${TRACE}-${SPAN}-01`)).toEqual({ ...context, isSampled: true });
    expect(parseTraceparent(`00-${TRACE}-${SPAN}-02`)).toEqual({ ...context, isSampled: false });
    // of a later version what is known is taken
    expect(parseTraceparent(`cc-${TRACE}-${SPAN}-01-what-comes`)).toEqual({ ...context, isSampled: true });
  });

  it.each([
    undefined,
    '',
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE}-${SPAN}-01-more`,
    `ff-${TRACE}-${SPAN}-01`,
    `00-${'0'.repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01\n`,
  ])('that is none is left: %j', (header) => {
    expect(parseTraceparent(header)).toBeUndefined();
  });
});

describe('sampling', () => {
  const parent = (isSampled: boolean) => ({ traceId: TRACE, spanId: SPAN, isSampled });
  const decisions = (env: NodeJS.ProcessEnv, random: number) => {
    const sampler = samplerOf(env, () => random);
    return [sampler(undefined), sampler(parent(true)), sampler(parent(false))];
  };

  it.each([
    [undefined, undefined, 0.5, [true, true, false]],
    ['always_on', undefined, 0.5, [true, true, true]],
    ['always_off', undefined, 0.5, [false, false, false]],
    ['parentbased_always_off', undefined, 0.5, [false, true, false]],
    ['traceidratio', '0.01', 0.02, [false, false, false]],
    ['parentbased_traceidratio', '0.01', 0.009, [true, true, false]],
    ['parentbased_traceidratio', '0.01', 0.011, [false, true, false]],
    ['parentbased_traceidratio', 'much', 0.9, [true, true, false]],
  ])('by %s %s', (name, share, random, expected) => {
    expect(decisions({ OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: share }, random)).toEqual(
      expected,
    );
  });
});

it.each<NodeJS.ProcessEnv>([
  {},
  { OTEL_EXPORTER_OTLP_ENDPOINT: '' },
  { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', OTEL_SDK_DISABLED: 'true' },
  { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', OTEL_TRACES_EXPORTER: 'none' },
])('is off with %j', async (env) => {
  expect(await startTracing('test', 'one', env)).toBeUndefined();
});
