import type { MetricSpec } from './metric-spec.js';

/** What routers and workers tell under one name. */
export const COMMON_METRICS = {
  buildInfo: {
    name: 'kvcapsule_build_info',
    help: '1; which build answers, in its labels: component (router or worker), its version, and that of Node',
    type: 'gauge',
    labels: ['component', 'version', 'node'],
    together: 'max',
  },
} as const satisfies Record<string, MetricSpec>;
