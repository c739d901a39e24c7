export { Backoff } from './backoff.js';
export { onEndSignals } from './end-signals.js';
export { outliveHangup, terminalSignals } from './hangup.js';
