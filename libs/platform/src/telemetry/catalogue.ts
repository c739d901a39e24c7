import { COMMON_METRICS } from './common-metrics.js';
import { ROUTER_METRICS } from './router-metrics.js';
import { WORKER_METRICS } from './worker-metrics.js';

/** Every metric of every component; `docs/reference/metrics.md` is generated from it. */
export const METRICS = { common: COMMON_METRICS, router: ROUTER_METRICS, worker: WORKER_METRICS } as const;
