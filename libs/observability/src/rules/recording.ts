import type { RecordingRule, RuleGroup } from './rule.js';
import { COUNTED, FAULTS, OBJECTIVES } from './slo.js';

/** Of burn rates: the long window says that it matters, the short one that it still goes on. */
export const WINDOWS = ['5m', '30m', '1h', '2h', '6h', '1d', '3d'] as const;
export type Window = (typeof WINDOWS)[number];

/** What an objective counts as bad, as a share of all, by namespace. */
export interface Indicator {
  readonly name: string;
  readonly badRatio: (window: Window) => string;
}

function slowRatio(histogram: string, withinSeconds: number, window: Window): string {
  const inTime = `sum by (namespace) (rate(${histogram}_bucket{le="${String(withinSeconds)}"}[${window}]))`;
  return `1 - ${inTime} / sum by (namespace) (rate(${histogram}_count[${window}]))`;
}

function errorRatio(window: Window): string {
  const faults = `sum by (namespace) (rate(${FAULTS}[${window}]))`;
  const counted = `sum by (namespace) (rate(${COUNTED}[${window}]))`;
  // a cluster without a fault has no series of one
  return `(${faults} or 0 * ${counted}) / ${counted}`;
}

const { firstToken, nextToken } = OBJECTIVES;

export const INDICATORS = {
  answered: { name: 'namespace:kvcapsule_requests:error_ratio', badRatio: errorRatio },
  firstToken: {
    name: 'namespace:kvcapsule_first_token:slow_ratio',
    badRatio: (window) =>
      slowRatio('kvcapsule_router_time_to_first_token_seconds', firstToken.withinSeconds, window),
  },
  nextToken: {
    name: 'namespace:kvcapsule_next_token:slow_ratio',
    badRatio: (window) =>
      slowRatio('kvcapsule_router_inter_token_latency_seconds', nextToken.withinSeconds, window),
  },
} as const satisfies Record<keyof typeof OBJECTIVES, Indicator>;

/** The recorded series of an indicator over a window. */
export function recorded({ name }: Indicator, window: Window): string {
  return `${name}_rate${window}`;
}

/** Requests of the last hour that count, by namespace. */
export const REQUESTS_OF_HOUR = 'namespace:kvcapsule_requests:increase1h';

export const RECORDING_GROUPS: readonly RuleGroup<RecordingRule>[] = [
  {
    name: 'kvcapsule-objectives',
    rules: [
      ...Object.values(INDICATORS).flatMap((indicator: Indicator) =>
        WINDOWS.map((window) => ({ record: recorded(indicator, window), expr: indicator.badRatio(window) })),
      ),
      { record: REQUESTS_OF_HOUR, expr: `sum by (namespace) (increase(${COUNTED}[1h]))` },
    ],
  },
];
