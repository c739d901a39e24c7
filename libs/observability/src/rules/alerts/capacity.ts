import type { AlertRule } from '../rule.js';
import { IN_NAMESPACE, INSTANCE } from './where.js';

/** Refusals for want of room, and not for a tenant's own limit. */
const NO_ROOM = 'kvcapsule_router_refusals_total{reason!~"cap_.*"}';

export const CAPACITY_ALERTS: readonly AlertRule[] = [
  {
    alert: 'KVCapsulePagesShort',
    expr: [
      'sum by (namespace) (kvcapsule_worker_pages{state=~"raw|rows|capsule"}) / sum by (namespace) (kvcapsule_worker_pages) > 0.9',
      'and sum by (namespace) (kvcapsule_router_requests_waiting) > 0',
    ].join(' '),
    for: '10m',
    severity: 'warning',
    summary: 'The workers’ pools are full while requests wait',
    description: `Requests hold {{ $value | humanizePercentage }} of all pages${IN_NAMESPACE}, and others wait for room.`,
  },
  {
    alert: 'KVCapsuleQueueLong',
    expr: 'histogram_quantile(0.95, sum by (namespace, le) (rate(kvcapsule_router_queue_wait_seconds_bucket[5m]))) > 5',
    for: '10m',
    severity: 'warning',
    summary: 'Requests wait long for a place on a worker',
    description: `Of a hundred requests five wait {{ $value | humanizeDuration }} or longer for a place on a worker${IN_NAMESPACE}.`,
  },
  {
    alert: 'KVCapsuleRefusalsHigh',
    expr: [
      `sum by (namespace) (rate(${NO_ROOM}[5m]))`,
      `/ (sum by (namespace) (rate(${NO_ROOM}[5m])) + sum by (namespace) (rate(kvcapsule_router_queue_wait_seconds_count[5m]))) > 0.02`,
    ].join(' '),
    for: '10m',
    severity: 'warning',
    summary: 'Requests are refused for want of room',
    description: `{{ $value | humanizePercentage }} of requests are not let in${IN_NAMESPACE}, since workers have no room for them in time.`,
  },
  {
    alert: 'KVCapsulePreemptionsHigh',
    expr: 'rate(kvcapsule_worker_preemptions_total[10m]) / rate(kvcapsule_worker_requests_started_total[10m]) > 0.05',
    for: '15m',
    severity: 'warning',
    summary: 'A worker preempts running requests again and again',
    description: `Worker ${INSTANCE} puts back {{ $value | humanizePercentage }} of its requests to compute them again: they outgrow its pool.`,
  },
  {
    alert: 'KVCapsuleSwapFull',
    expr: 'kvcapsule_worker_swap_used_bytes / (kvcapsule_worker_swap_capacity_bytes > 0) > 0.95',
    for: '5m',
    severity: 'warning',
    summary: 'A worker’s swap is full',
    description: `Worker ${INSTANCE} uses {{ $value | humanizePercentage }} of its swap: further requests that outgrow the pool are preempted and computed again.`,
  },
  {
    alert: 'KVCapsuleMemoryShort',
    expr: 'process_resident_memory_bytes / on (job, instance, namespace) kvcapsule_worker_memory_limit_bytes > 0.95',
    for: '10m',
    severity: 'warning',
    summary: 'A worker is close to its limit of memory',
    description: `Worker ${INSTANCE} takes {{ $value | humanizePercentage }} of the memory that its machine or control group has; past that the kernel ends it.`,
  },
];
