/** Runs of a property: some ten thousand operations normally, millions in `./kvcapsule test --full`. */
export function fullRuns(normally: number, full: number): number {
  return process.env['KVCAPSULE_TEST_FULL'] === '1' ? full : normally;
}
