import type { LeaseKey } from '@kvcapsule/domain/ledger';
import type { Pick, Work } from '@kvcapsule/domain/placement';
import type { WorkerRecord } from '@kvcapsule/domain/registry';
import type { Trial } from '@kvcapsule/domain/retries';
import type { Tracked } from '../fleet/member.js';

/** Pages set aside for a request on one worker, until they are released. */
export interface Reservation {
  readonly record: WorkerRecord;
  readonly key: LeaseKey;
  readonly pages: number;
  /** Why this worker. */
  readonly pick: Pick;
  /** What the request has it compute, to be told of the first token. */
  readonly work: Work;
  /** It counts towards the requests and pages of its worker. */
  readonly tracked: Tracked;
  /** What becomes of it tells the worker's breaker how the worker does. */
  readonly trial: Trial;
  /** The ledger has not heard of it: the worker may have no room. */
  readonly provisional: boolean;
  /** The worker had no room: nothing has come free there. */
  isRefused?: boolean;
  /** The worker may still run it: the lease is the worker's, which gives it back, or it runs out. */
  isUnconfirmed?: boolean;
}
