export { tracingSettings, type TracingSettings } from './settings.js';
export type { Attributes, Span, Tracing } from './span.js';
export { startTracing } from './start-tracing.js';
