import { KvcError } from '@kvcapsule/contracts';

import { WORKER_ID } from './checks.js';
import { runVerb } from './client.js';
import { REGISTRY_KEYS, REGISTRY_TYPES, typesOf, workerKeys } from './keys.js';
import type { RedisClient } from './scripts.js';

/** Workers that are read at one time. */
const MOST_AT_ONCE = 32;

export interface LeaseView {
  readonly leaseId: string;
  /** `reserved` by a router, or taken over by the worker. */
  readonly state: 'reserved' | 'committed';
  readonly pages: number;
  /** Who reserved it; undefined where nobody is named. */
  readonly router: string | undefined;
  /** Until a reservation lapses, ms; negative where its worker has not dropped it yet. */
  readonly expiresInMs: number | undefined;
}

/** What the ledger holds of one worker, read in one instant. */
export interface WorkerLedgerView {
  readonly workerId: string;
  readonly epoch: number;
  readonly capacityPages: number;
  /** As the ledger has them; the leases' own sums should be the same. */
  readonly reservedPages: number;
  readonly committedPages: number;
  readonly leases: readonly LeaseView[];
}

/**
 * All workers that have announced themselves and still have a record, by id. Reads alone.
 *
 * @throws KvcError LEDGER_UNAVAILABLE when the store does not answer
 */
export async function readLedger(client: RedisClient): Promise<WorkerLedgerView[]> {
  const members = await runVerb(client, REGISTRY_TYPES, () => client.hgetall(REGISTRY_KEYS.members));
  const ids = Object.keys(members)
    .filter((id) => WORKER_ID.test(id))
    .sort((one, other) => one.localeCompare(other, 'en', { numeric: true }));
  const views: WorkerLedgerView[] = [];
  for (let from = 0; from < ids.length; from += MOST_AT_ONCE) {
    const some = ids.slice(from, from + MOST_AT_ONCE).map((id) => readWorker(client, id));
    views.push(...(await Promise.all(some)).filter((view) => view !== undefined));
  }
  return views;
}

async function readWorker(client: RedisClient, workerId: string): Promise<WorkerLedgerView | undefined> {
  const keys = workerKeys(workerId);
  const answer = await runVerb(client, typesOf(keys), () =>
    client.kvcLeases(keys.info, keys.leases, keys.deadlines),
  );
  if (answer === null) return undefined;
  const [nowMs, epoch, capacity, reserved, committed, leases, deadlines] = answer;
  const ends = new Map(pairs(deadlines));
  return {
    ...{ workerId, epoch: Number(epoch), capacityPages: Number(capacity) },
    ...{ reservedPages: Number(reserved), committedPages: Number(committed) },
    leases: pairs(leases).map(([leaseId, fields]) => {
      const end = ends.get(leaseId);
      return {
        leaseId,
        ...readFields(fields),
        expiresInMs: end === undefined ? undefined : Number(end) - nowMs,
      };
    }),
  };
}

/** `r:PAGES` or `c:PAGES`, then `:ROUTER:EPOCH` where a router reserved it. */
function readFields(text: string): Pick<LeaseView, 'state' | 'pages' | 'router'> {
  const [, kind, pages, router] = /^([rc]):(\d+)(?::([^:]+):\d+)?$/.exec(text) ?? [];
  if (kind === undefined) throw new KvcError('INTERNAL', 'a lease of the ledger cannot be read');
  return { state: kind === 'r' ? 'reserved' : 'committed', pages: Number(pages), router };
}

function pairs(flat: readonly string[]): [string, string][] {
  return flat.flatMap((key, index) => (index % 2 === 0 ? [[key, flat[index + 1] ?? '']] : []));
}
