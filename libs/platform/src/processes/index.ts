export { Backoff } from './backoff.js';
export { onEndSignals } from './end-signals.js';
export { isHangupIgnored, outliveHangup } from './hangup.js';
