import { OBJECTIVES } from '../slo.js';

/** One series: how it goes while all is well, how in the fault, how after it. */
interface Course {
  readonly series: string;
  /** A gauge's values; a counter's rise in a minute. `undefined` is no sample. */
  readonly well: number;
  readonly ill: number | undefined;
  readonly counts: boolean;
}

/** A fault that makes an alert fire, and its end, which makes it clear. */
export interface AlertCase {
  readonly alert: string;
  readonly severity: 'critical' | 'warning';
  readonly courses: readonly Course[];
  /** Minutes that pass from the end of the fault until the alert must be clear; an hour by default. */
  readonly clearsAfterMinutes?: number;
}

/** All is well at first, then comes the fault. */
export const WELL_MINUTES = 30;
export const ILL_MINUTES = 30;

const ROUTER = 'job="kvcapsule-router",instance="router:8000"';
const WORKER = 'job="kvcapsule-worker",instance="worker:9400"';

const named = (name: string, labels: string): string => {
  const target = name.startsWith('kvcapsule_worker_') ? WORKER : ROUTER;
  return `${name}{${labels === '' ? target : `${target},${labels}`}}`;
};
const gauge = (name: string, well: number, ill: number | undefined, labels = ''): Course => ({
  ...{ series: named(name, labels), well, ill, counts: false },
});
const counter = (name: string, well: number, ill: number, labels = ''): Course => ({
  ...{ series: named(name, labels), well, ill, counts: true },
});

/** Minutes in which the long window of the slow burn's last pair forgets the fault: its short one is 6 h. */
const SLOW_BURN_CLEARS = 7 * 60;
const SERVED = counter('kvcapsule_router_requests_total', 20, 20, 'model="demo",status="200",code="ok"');

function slow(histogram: string, bound: number): Course[] {
  return [
    SERVED,
    counter(`${histogram}_bucket`, 20, 0, `le="${String(bound)}"`),
    counter(`${histogram}_count`, 20, 20),
  ];
}

function burns(alert: string, courses: readonly Course[]): AlertCase[] {
  return [
    { alert, severity: 'critical', courses },
    { alert, severity: 'warning', courses, clearsAfterMinutes: SLOW_BURN_CLEARS },
  ];
}

const OBJECTIVE_CASES: readonly AlertCase[] = [
  ...burns('KVCapsuleErrorBudgetBurn', [
    SERVED,
    counter('kvcapsule_router_requests_total', 0, 10, 'model="demo",status="503",code="no_capacity"'),
  ]),
  ...burns(
    'KVCapsuleFirstTokenSlow',
    slow('kvcapsule_router_time_to_first_token_seconds', OBJECTIVES.firstToken.withinSeconds),
  ),
  ...burns(
    'KVCapsuleNextTokenSlow',
    slow('kvcapsule_router_inter_token_latency_seconds', OBJECTIVES.nextToken.withinSeconds),
  ),
];

const CAPACITY_CASES: readonly AlertCase[] = [
  {
    alert: 'KVCapsulePagesShort',
    severity: 'warning',
    courses: [
      gauge('kvcapsule_worker_pages', 10, 38, 'state="raw"'),
      gauge('kvcapsule_worker_pages', 0, 60, 'state="capsule"'),
      gauge('kvcapsule_worker_pages', 80, 0, 'state="cached"'),
      gauge('kvcapsule_worker_pages', 10, 2, 'state="free"'),
      gauge('kvcapsule_router_requests_waiting', 0, 4),
    ],
  },
  {
    alert: 'KVCapsuleQueueLong',
    severity: 'warning',
    courses: [
      counter('kvcapsule_router_queue_wait_seconds_bucket', 20, 0, 'le="1"'),
      counter('kvcapsule_router_queue_wait_seconds_bucket', 20, 20, 'le="10"'),
      counter('kvcapsule_router_queue_wait_seconds_bucket', 20, 20, 'le="+Inf"'),
    ],
  },
  {
    alert: 'KVCapsuleRefusalsHigh',
    severity: 'warning',
    courses: [
      counter('kvcapsule_router_refusals_total', 0, 5, 'tenant="a",reason="full"'),
      counter('kvcapsule_router_queue_wait_seconds_count', 20, 20, 'tenant="a"'),
    ],
  },
  {
    alert: 'KVCapsulePreemptionsHigh',
    severity: 'warning',
    courses: [
      counter('kvcapsule_worker_preemptions_total', 0, 10),
      counter('kvcapsule_worker_requests_started_total', 20, 20),
    ],
  },
  {
    alert: 'KVCapsuleSwapFull',
    severity: 'warning',
    courses: [
      gauge('kvcapsule_worker_swap_used_bytes', 10, 100),
      gauge('kvcapsule_worker_swap_capacity_bytes', 100, 100),
    ],
  },
  {
    alert: 'KVCapsuleMemoryShort',
    severity: 'warning',
    courses: [
      { ...gauge('kvcapsule_worker_', 10, 98), series: `process_resident_memory_bytes{${WORKER}}` },
      gauge('kvcapsule_worker_memory_limit_bytes', 100, 100),
    ],
  },
];

const WORKER_CASES: readonly AlertCase[] = [
  {
    alert: 'KVCapsuleNoRouter',
    severity: 'critical',
    courses: [gauge('kvcapsule_router_workers', 2, undefined)],
  },
  { alert: 'KVCapsuleNoWorker', severity: 'critical', courses: [gauge('kvcapsule_router_workers', 2, 0)] },
  {
    alert: 'KVCapsuleModelWithoutWorker',
    severity: 'critical',
    courses: [gauge('kvcapsule_router_model_workers', 2, 0, 'model="a"')],
  },
  { alert: 'KVCapsuleTargetDown', severity: 'warning', courses: [gauge('up', 1, 0)] },
  {
    alert: 'KVCapsuleWorkerRestarting',
    severity: 'warning',
    courses: [
      { ...counter('kvcapsule_worker_', 0, 60), series: `process_start_time_seconds{${WORKER}}` },
      gauge('kvcapsule_worker_info', 1, 1),
    ],
  },
  {
    alert: 'KVCapsuleWorkerFlapping',
    severity: 'warning',
    courses: [counter('kvcapsule_router_breaker_openings_total', 0, 1)],
  },
  {
    alert: 'KVCapsuleWorkerFailing',
    severity: 'warning',
    courses: [
      counter('kvcapsule_worker_requests_total', 0, 5, 'reason="error"'),
      counter('kvcapsule_worker_requests_total', 20, 20, 'reason="stop"'),
    ],
  },
  {
    alert: 'KVCapsuleFailoversGivenUp',
    severity: 'warning',
    courses: [counter('kvcapsule_router_failovers_total', 0, 1, 'outcome="no_worker"')],
  },
  {
    alert: 'KVCapsuleStreamsStuck',
    severity: 'critical',
    courses: [
      gauge('kvcapsule_worker_requests_running', 2, 2),
      counter('kvcapsule_worker_step_seconds_count', 600, 0),
    ],
  },
  {
    alert: 'KVCapsuleStreamsStuck',
    severity: 'warning',
    courses: [gauge('kvcapsule_router_streams_stalled', 0, 3)],
  },
];

const STORE_CASES: readonly AlertCase[] = [
  {
    alert: 'KVCapsuleStoreAway',
    severity: 'critical',
    courses: [gauge('kvcapsule_router_ledger_away', 0, 1)],
  },
  {
    alert: 'KVCapsuleStoreDegraded',
    severity: 'warning',
    courses: [gauge('kvcapsule_router_ledger_away', 0, 1)],
  },
  {
    alert: 'KVCapsuleStoreSlow',
    severity: 'warning',
    courses: [
      counter('kvcapsule_router_redis_seconds_bucket', 100, 0, 'verb="reserve",le="0.01"'),
      counter('kvcapsule_router_redis_seconds_bucket', 100, 100, 'verb="reserve",le="0.1"'),
      counter('kvcapsule_router_redis_seconds_bucket', 100, 100, 'verb="reserve",le="+Inf"'),
    ],
  },
  {
    alert: 'KVCapsuleStoreMemoryShort',
    severity: 'warning',
    courses: [
      gauge('kvcapsule_router_store_memory_bytes', 10, 95),
      gauge('kvcapsule_router_store_memory_limit_bytes', 100, 100),
    ],
  },
  {
    alert: 'KVCapsuleRegistryStale',
    severity: 'warning',
    courses: [gauge('kvcapsule_router_registry_age_seconds', 0.2, 10)],
  },
  {
    alert: 'KVCapsuleOwnersSilent',
    severity: 'warning',
    courses: [gauge('kvcapsule_router_owners_silence_seconds', 5, 60)],
  },
  {
    alert: 'KVCapsuleRouterEventLoopLag',
    severity: 'warning',
    courses: [
      counter('kvcapsule_router_event_loop_lag_seconds_bucket', 600, 0, 'le="0.01"'),
      counter('kvcapsule_router_event_loop_lag_seconds_bucket', 600, 600, 'le="0.5"'),
      counter('kvcapsule_router_event_loop_lag_seconds_bucket', 600, 600, 'le="+Inf"'),
    ],
  },
];

export const ALERT_CASES: readonly AlertCase[] = [
  ...OBJECTIVE_CASES,
  ...CAPACITY_CASES,
  ...WORKER_CASES,
  ...STORE_CASES,
];
