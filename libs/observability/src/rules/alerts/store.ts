import type { AlertRule } from '../rule.js';
import { IN_NAMESPACE, INSTANCE } from './where.js';

export const STORE_ALERTS: readonly AlertRule[] = [
  {
    alert: 'KVCapsuleStoreAway',
    expr: 'max by (namespace) (kvcapsule_router_ledger_away) == 1',
    for: '2m',
    severity: 'critical',
    summary: 'Redis does not answer',
    description: `The ledger has not answered in time for two minutes${IN_NAMESPACE}. Requests go on without it; workers that start meanwhile are not found.`,
  },
  {
    alert: 'KVCapsuleStoreDegraded',
    expr: 'max by (namespace) (avg_over_time(kvcapsule_router_ledger_away[15m])) > 0.05',
    for: '10m',
    severity: 'warning',
    summary: 'Redis answers late again and again',
    description: `The ledger was away for {{ $value | humanizePercentage }} of the last 15 minutes${IN_NAMESPACE}.`,
  },
  {
    alert: 'KVCapsuleStoreSlow',
    expr: 'histogram_quantile(0.99, sum by (namespace, le) (rate(kvcapsule_router_redis_seconds_bucket{verb="reserve"}[5m]))) > 0.05',
    for: '10m',
    severity: 'warning',
    summary: 'Redis answers slowly',
    description: `At p99 a reservation takes {{ $value | humanizeDuration }}${IN_NAMESPACE}; each request waits for one before it is sent to a worker.`,
  },
  {
    alert: 'KVCapsuleStoreMemoryShort',
    expr: 'max by (namespace) (kvcapsule_router_store_memory_bytes / (kvcapsule_router_store_memory_limit_bytes > 0)) > 0.9',
    for: '5m',
    severity: 'warning',
    summary: 'Redis is close to its limit of memory',
    description: `Redis uses {{ $value | humanizePercentage }} of its maxmemory${IN_NAMESPACE}; when it is full, it refuses writes and requests go on without the ledger.`,
  },
  {
    alert: 'KVCapsuleRegistryStale',
    expr: 'kvcapsule_router_registry_age_seconds > 6',
    for: '1m',
    severity: 'warning',
    summary: 'A router does not know how its workers are',
    description: `Router ${INSTANCE} has read nothing of what workers say for {{ $value | humanizeDuration }}; it places requests by what it knew then.`,
  },
  {
    alert: 'KVCapsuleOwnersSilent',
    expr: 'kvcapsule_router_owners_silence_seconds > 30',
    for: '5m',
    severity: 'warning',
    summary: 'A router does not hear of a worker’s cache',
    description: `Router ${INSTANCE} has heard nothing of some worker’s cache for {{ $value | humanizeDuration }}; each speaks every 10 s. Requests go where their content no longer is.`,
  },
];

export const ROUTER_ALERTS: readonly AlertRule[] = [
  {
    alert: 'KVCapsuleRouterEventLoopLag',
    expr: 'histogram_quantile(0.99, sum by (namespace, job, instance, le) (rate(kvcapsule_router_event_loop_lag_seconds_bucket[5m]))) > 0.1',
    for: '5m',
    severity: 'warning',
    summary: 'A router’s event loop is late',
    description: `At p99 the event loop of router ${INSTANCE} is {{ $value | humanizeDuration }} late: every stream through it waits.`,
  },
];
