import type { AlertRule } from '../rule.js';
import { IN_NAMESPACE, INSTANCE } from './where.js';

export const WORKER_ALERTS: readonly AlertRule[] = [
  {
    alert: 'KVCapsuleNoRouter',
    expr: 'absent(kvcapsule_router_workers)',
    for: '2m',
    severity: 'critical',
    summary: 'No router answers Prometheus',
    description: 'No router has been scraped for two minutes: nobody may be answering clients.',
  },
  {
    alert: 'KVCapsuleNoWorker',
    expr: 'max by (namespace) (kvcapsule_router_workers) == 0',
    for: '1m',
    severity: 'critical',
    summary: 'No worker is ready',
    description: `Routers${IN_NAMESPACE} see no worker whose heartbeat is fresh: every request is refused with no_worker.`,
  },
  {
    alert: 'KVCapsuleTargetDown',
    expr: 'up{job=~".*kvcapsule.*"} == 0',
    for: '3m',
    severity: 'warning',
    summary: 'A router or worker cannot be scraped',
    description: `${INSTANCE} ({{ $labels.job }}) has not answered Prometheus for three minutes.`,
  },
  {
    alert: 'KVCapsuleWorkerRestarting',
    expr: 'changes(process_start_time_seconds[30m]) > 2 and on (job, instance, namespace) kvcapsule_worker_pages_free',
    severity: 'warning',
    summary: 'A worker starts again and again',
    description: `Worker ${INSTANCE} has started {{ $value }} times within half an hour.`,
  },
  {
    alert: 'KVCapsuleWorkerFlapping',
    expr: 'max by (namespace) (increase(kvcapsule_router_breaker_openings_total[15m])) > 3',
    severity: 'warning',
    summary: 'Routers leave a worker alone again and again',
    description: `A circuit breaker has opened {{ $value | humanize }} times within 15 minutes${IN_NAMESPACE}: a worker fails requests, recovers, and fails again.`,
  },
  {
    alert: 'KVCapsuleWorkerFailing',
    expr: 'sum by (namespace, job, instance) (rate(kvcapsule_worker_requests_total{reason="error"}[5m])) / sum by (namespace, job, instance) (rate(kvcapsule_worker_requests_total[5m])) > 0.05',
    for: '5m',
    severity: 'warning',
    summary: 'A worker fails requests',
    description: `{{ $value | humanizePercentage }} of the requests of worker ${INSTANCE} end with an error.`,
  },
  {
    alert: 'KVCapsuleFailoversGivenUp',
    expr: 'sum by (namespace) (increase(kvcapsule_router_failovers_total{outcome=~"no_worker|over_budget|exhausted"}[10m])) > 0',
    severity: 'warning',
    summary: 'Answers ended because nobody could go on with them',
    description: `{{ $value | humanize }} requests whose worker failed within ten minutes were given up${IN_NAMESPACE}.`,
  },
  {
    alert: 'KVCapsuleStreamsStuck',
    expr: 'kvcapsule_worker_requests_running > 0 and on (job, instance, namespace) increase(kvcapsule_worker_step_seconds_count[5m]) == 0',
    for: '2m',
    severity: 'critical',
    summary: 'A worker has requests and makes no steps',
    description: `Worker ${INSTANCE} has {{ $value }} running requests and has finished no step of its engine for five minutes: their streams stand still.`,
  },
];
