import type { AlertRule, RuleGroup } from '../rule.js';
import { CAPACITY_ALERTS } from './capacity.js';
import { OBJECTIVE_ALERTS } from './objectives.js';
import { ROUTER_ALERTS, STORE_ALERTS } from './store.js';
import { WORKER_ALERTS } from './workers.js';

export const ALERT_GROUPS: readonly RuleGroup<AlertRule>[] = [
  { name: 'kvcapsule-objectives-at-risk', rules: OBJECTIVE_ALERTS },
  { name: 'kvcapsule-capacity', rules: CAPACITY_ALERTS },
  { name: 'kvcapsule-workers', rules: WORKER_ALERTS },
  { name: 'kvcapsule-store', rules: STORE_ALERTS },
  { name: 'kvcapsule-router', rules: ROUTER_ALERTS },
];

export const ALERTS: readonly AlertRule[] = ALERT_GROUPS.flatMap(({ rules }) => rules);

/** The page of the runbook about an alert: `no-worker` of `KVCapsuleNoWorker`. */
export function pageOf(alert: string): string {
  return alert
    .replace('KVCapsule', '')
    .replaceAll(/(?<!^)[A-Z]/g, (letter) => `-${letter}`)
    .toLowerCase();
}
