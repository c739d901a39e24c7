export { METRICS } from './catalogue.js';
export { CONTENT_TYPES, countsOf, exposeTogether, type Format, formatOf } from './exposition.js';
export { watchEventLoop } from './event-loop.js';
export type { HistogramSeries, PlainHistogram } from './histogram.js';
export type { MetricSpec } from './metric-spec.js';
export { MeasuredLedger, MeasuredRegistry } from './measured-store.js';
export { addVllmRouterMetrics, addVllmWorkerMetrics } from './vllm/vllm-metrics.js';
export { UNKNOWN_MODEL } from './router-metrics.js';
export { VERSION } from './version.js';
export { referencePage } from './reference-page.js';
export {
  createMetrics,
  type Metrics,
  metricsOfProcess,
  type ProcessMetrics,
  type RouterMetrics,
  type WorkerMetrics,
} from './metrics.js';
