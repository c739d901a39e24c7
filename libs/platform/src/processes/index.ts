export { Backoff } from './backoff.js';
export { onEndSignals } from './end-signals.js';
