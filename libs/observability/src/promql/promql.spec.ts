import { describe, expect, it } from 'vitest';

import { KNOWN_SERIES, unknownIn } from './known.js';
import { read, withMatchers } from './promql.js';

describe('reading an expression', () => {
  it('finds metrics with the labels of their matchers, and what is grouped by', () => {
    const { selectors, groupings } = read(
      'sum by (code) (rate(a_total{status="200",code!="ok"}[$__rate_interval])) / on (job) group_left b',
    );
    expect(selectors).toEqual([
      { metric: 'a_total', labels: ['status', 'code'] },
      { metric: 'b', labels: [] },
    ]);
    expect(groupings).toEqual([
      { labels: ['code'], metrics: ['a_total'] },
      { labels: ['job'], metrics: ['a_total', 'b'] },
    ]);
  });

  it.each(['sum(', 'rate(a_total[5x])', 'a b', 'sum by code (a)'])('refuses %s', (expr) => {
    expect(() => read(expr)).toThrow(SyntaxError);
  });
});

describe('adding matchers', () => {
  const added = (expr: string): string =>
    withMatchers(expr, (metric) => (metric === 'left_alone' ? [] : [`of="${metric}"`]));

  it.each([
    ['a', 'a{of="a"}'],
    ['a{}', 'a{of="a"}'],
    ['a{b="{c}"}', 'a{of="a",b="{c}"}'],
    ['sum(rate(a[$__rate_interval])) / left_alone', 'sum(rate(a{of="a"}[$__rate_interval])) / left_alone'],
    ['a[$__range] or b', 'a{of="a"}[$__range] or b{of="b"}'],
  ])('makes %s to %s', (expr, expected) => {
    expect(added(expr)).toBe(expected);
  });
});

describe('what a cluster has', () => {
  it.each([
    ['kvcapsule_router_requests_total{code="ok"}', []],
    ['nodejs_eventloop_lag_p99_seconds and on (job, instance) kvcapsule_router_workers', []],
    ['sum by (le) (kvcapsule_router_time_to_first_token_seconds_bucket)', []],
    ['kvcapsule_router_time_to_first_token_seconds', ['kvcapsule_router_time_to_first_token_seconds']],
    ['kvcapsule_router_requests_total{outcome="ok"}', ['kvcapsule_router_requests_total{outcome}']],
    ['sum by (tenant) (kvcapsule_router_workers)', ['kvcapsule_router_workers{tenant}']],
    ['vllm:num_requests_running', ['vllm:num_requests_running']],
  ])('%s lacks %j', (expr, lacking) => {
    expect(unknownIn(expr)).toEqual(lacking);
  });

  it('counts the series that rules record', () => {
    expect(KNOWN_SERIES.get('namespace:kvcapsule_requests:error_ratio_rate5m')).toContain('namespace');
  });
});
