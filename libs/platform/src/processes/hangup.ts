import type { EndSignal } from './end-signals.js';

/**
 * Whether a process is to outlive its terminal: Node takes back that `nohup` has it ignore a hangup, and the entry script
 * says that it was ignored.
 */
const isHangupIgnored = (): boolean => process.env['KVCAPSULE_NOHUP'] === 'true';

/** What ends a process that is run from a terminal. */
export const terminalSignals = (): readonly EndSignal[] =>
  isHangupIgnored() ? ['SIGINT', 'SIGTERM'] : ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** Goes on ignoring it where it was ignored. */
export function outliveHangup(): void {
  if (isHangupIgnored()) process.on('SIGHUP', () => undefined);
}
