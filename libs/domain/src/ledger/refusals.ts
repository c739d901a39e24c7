import { KvcError } from '@kvcapsule/contracts/errors';

/** Why the ledger or the registry refused a call. A refused call has changed nothing. */
export type LedgerRefusal =
  'NO_WORKER' | 'STALE_EPOCH' | 'NO_CAPACITY' | 'NOT_COMMITTED' | 'RELEASED' | 'STALE_ROUTER';

/** A refusal as the ports reject with it, by the worker that was asked for, or the router that registers. */
export function refusalError(refusal: LedgerRefusal, id: string): KvcError {
  switch (refusal) {
    case 'NO_WORKER':
      return new KvcError('NO_WORKER', `worker ${id} is not registered`);
    case 'STALE_EPOCH':
      return new KvcError('STALE_EPOCH', `worker ${id} has a newer epoch`);
    case 'NO_CAPACITY':
      return new KvcError('NO_CAPACITY', `worker ${id} has too few free pages`, {
        retryAfterMs: 1_000,
      });
    case 'NOT_COMMITTED':
      return new KvcError('INTERNAL', `a lease of worker ${id} was extended that is not committed`);
    case 'RELEASED':
      return new KvcError('ABORTED', `a lease of worker ${id} was given back: its request has ended`);
    case 'STALE_ROUTER':
      return new KvcError(
        'STALE_ROUTER',
        `${id} knows a newer registration of this router, or took it for dead`,
      );
  }
}
