/**
 * Whether a process is to outlive its terminal: Node takes back that `nohup` has it ignore a hangup, and the entry script
 * says that it was ignored.
 */
export function isHangupIgnored(env: NodeJS.ProcessEnv = process.env): boolean {
  return env['KVCAPSULE_NOHUP'] === 'true';
}

/** Goes on ignoring it where it was ignored. */
export function outliveHangup(): void {
  if (isHangupIgnored()) process.on('SIGHUP', () => undefined);
}
