export type { Attributes, Span, Tracing } from './span.js';
export { startTracing } from './start-tracing.js';
