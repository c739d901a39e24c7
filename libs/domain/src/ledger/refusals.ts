import { KvcError } from '@kvcapsule/contracts/errors';

/** Why the ledger or the registry refused a call. A refused call has changed nothing. */
export type LedgerRefusal = 'NO_WORKER' | 'STALE_EPOCH' | 'NO_CAPACITY' | 'NOT_COMMITTED' | 'RELEASED';

/** A refusal as the ports reject with it. */
export function refusalError(refusal: LedgerRefusal, workerId: string): KvcError {
  switch (refusal) {
    case 'NO_WORKER':
      return new KvcError('NO_WORKER', `worker ${workerId} is not registered`);
    case 'STALE_EPOCH':
      return new KvcError('STALE_EPOCH', `worker ${workerId} has a newer epoch`);
    case 'NO_CAPACITY':
      return new KvcError('NO_CAPACITY', `worker ${workerId} has too few free pages`, {
        retryAfterMs: 1_000,
      });
    case 'NOT_COMMITTED':
      return new KvcError('INTERNAL', `a lease of worker ${workerId} was extended that is not committed`);
    case 'RELEASED':
      return new KvcError('ABORTED', `a lease of worker ${workerId} was given back: its request has ended`);
  }
}
