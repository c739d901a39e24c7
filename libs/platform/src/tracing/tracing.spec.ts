import { describe, expect, it } from 'vitest';

import { samplerOf, type SamplerSettings } from './sampling.js';
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
  const decisions = (settings: SamplerSettings, random: number) => {
    const sampler = samplerOf(settings, () => random);
    return [sampler(undefined), sampler(parent(true)), sampler(parent(false))];
  };

  it.each([
    ['parentbased_always_on', 1, 0.5, [true, true, false]],
    ['always_on', 1, 0.5, [true, true, true]],
    ['always_off', 1, 0.5, [false, false, false]],
    ['parentbased_always_off', 1, 0.5, [false, true, false]],
    ['traceidratio', 0.01, 0.02, [false, false, false]],
    ['parentbased_traceidratio', 0.01, 0.009, [true, true, false]],
    ['parentbased_traceidratio', 0.01, 0.011, [false, true, false]],
    ['parentbased_traceidratio', 1, 0.9, [true, true, false]],
    ['traceidratio', 0, 0, [false, false, false]],
  ] as const)('by %s %s', (name, ratio, random, expected) => {
    expect(decisions({ name, ratio }, random)).toEqual(expected);
  });
});
