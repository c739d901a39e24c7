import { type Indicator, INDICATORS, recorded, REQUESTS_OF_HOUR, type Window } from '../recording.js';
import type { AlertRule } from '../rule.js';
import { OBJECTIVES } from '../slo.js';
import { IN_NAMESPACE } from './where.js';

interface Burn {
  /** How many times faster than the objective allows the budget goes. */
  readonly factor: number;
  readonly long: Window;
  readonly short: Window;
}

/** At these speeds 2 % and 5 % of a month's budget go within the long window: somebody has to look now. */
const FAST: readonly Burn[] = [
  { factor: 14.4, long: '1h', short: '5m' },
  { factor: 6, long: '6h', short: '30m' },
];
/** At these speeds the budget is gone before the month is. */
const SLOW: readonly Burn[] = [
  { factor: 3, long: '1d', short: '2h' },
  { factor: 1, long: '3d', short: '6h' },
];

function burns(indicator: Indicator, budget: number, speeds: readonly Burn[]): string {
  return speeds
    .map(({ factor, long, short }) => {
      const bound = Number((factor * budget).toPrecision(6));
      return [long, short].map((window) => `${recorded(indicator, window)} > ${String(bound)}`);
    })
    .map(([long, short]) => `(${String(long)} and ${String(short)})`)
    .join(' or ');
}

interface Promise {
  readonly alert: string;
  readonly objective: keyof typeof OBJECTIVES;
  readonly summary: string;
  /** What the value is a share of. */
  readonly what: string;
}

function alertsOf({ alert, objective, summary, what }: Promise): AlertRule[] {
  const budget = 1 - OBJECTIVES[objective].share;
  const allowed = `${String(Number((budget * 100).toPrecision(6)))} %`;
  const tell = (speed: string): string =>
    `{{ $value | humanizePercentage }} of ${what} over the long window${IN_NAMESPACE}; over a month it may be ${allowed}. ${speed}`;
  return [
    {
      alert,
      // a cluster that hardly serves anybody is not judged by its single requests
      expr: `(${burns(INDICATORS[objective], budget, FAST)}) and ${REQUESTS_OF_HOUR} > 10`,
      for: '2m',
      severity: 'critical',
      summary,
      description: tell('At this speed the budget is gone within days: look now.'),
    },
    {
      alert,
      expr: burns(INDICATORS[objective], budget, SLOW),
      for: '15m',
      severity: 'warning',
      summary,
      description: tell('At this speed the budget does not last for the month.'),
    },
  ];
}

export const OBJECTIVE_ALERTS: readonly AlertRule[] = [
  ...alertsOf({
    alert: 'KVCapsuleErrorBudgetBurn',
    objective: 'answered',
    summary: 'Too many requests fail',
    what: 'requests failed by a fault of the cluster',
  }),
  ...alertsOf({
    alert: 'KVCapsuleFirstTokenSlow',
    objective: 'firstToken',
    summary: 'Too many requests wait long for their first token',
    what: `requests waited more than ${String(OBJECTIVES.firstToken.withinSeconds)} s for their first token`,
  }),
  ...alertsOf({
    alert: 'KVCapsuleNextTokenSlow',
    objective: 'nextToken',
    summary: 'Answers come too slowly',
    what: `gaps between tokens were longer than ${String(OBJECTIVES.nextToken.withinSeconds)} s`,
  }),
];
