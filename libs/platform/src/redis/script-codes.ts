import { KvcError } from '@kvcapsule/contracts';
import { type LedgerRefusal, refusalError } from '@kvcapsule/domain/ledger';

/** What the scripts in `lua/` answer. Values from 0 up are results. */
export const ScriptCode = {
  NoWorker: -1,
  StaleEpoch: -2,
  NoCapacity: -3,
  NotCommitted: -4,
  Released: -5,
  StaleRouter: -6,
} as const;

const REFUSALS: Readonly<Record<number, LedgerRefusal>> = {
  [ScriptCode.NoWorker]: 'NO_WORKER',
  [ScriptCode.StaleEpoch]: 'STALE_EPOCH',
  [ScriptCode.NoCapacity]: 'NO_CAPACITY',
  [ScriptCode.NotCommitted]: 'NOT_COMMITTED',
  [ScriptCode.Released]: 'RELEASED',
  [ScriptCode.StaleRouter]: 'STALE_ROUTER',
};

/**
 * Turns a script's answer into the port's error, or gives the result back. `id` is the worker's, or of a router that
 * registers its own.
 */
export function throwOnCode(code: number, id: string): number {
  if (code >= 0) {
    return code;
  }
  const refusal = REFUSALS[code];
  if (refusal === undefined) {
    throw new KvcError('INTERNAL', `a ledger script answered with the unknown code ${String(code)}`);
  }
  throw refusalError(refusal, id);
}
