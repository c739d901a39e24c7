import { KvcError } from '@kvcapsule/contracts';

/** What the scripts in `lua/` answer. Values from 0 up are results. */
export const ScriptCode = {
  NoWorker: -1,
  StaleEpoch: -2,
  NoCapacity: -3,
  NotCommitted: -4,
} as const;

/** Turns a script's answer into the port's error, or gives the result back. */
export function throwOnCode(code: number, workerId: string): number {
  if (code >= 0) {
    return code;
  }
  switch (code) {
    case ScriptCode.NoWorker:
      throw new KvcError('NO_WORKER', `worker ${workerId} is not registered`);
    case ScriptCode.StaleEpoch:
      throw new KvcError('STALE_EPOCH', `worker ${workerId} has a newer epoch`);
    case ScriptCode.NoCapacity:
      throw new KvcError('NO_CAPACITY', `worker ${workerId} has too few free pages`, { retryAfterMs: 1_000 });
    case ScriptCode.NotCommitted:
      throw new KvcError('INTERNAL', `a lease of worker ${workerId} was extended that is not committed`);
    default:
      throw new KvcError('INTERNAL', `a ledger script answered with the unknown code ${String(code)}`);
  }
}
