import type { ClusterDelta, ClusterPoint, ClusterSnapshot } from '@kvcapsule/contracts/cluster';

/** As many points as a snapshot's history has. */
const MOST_POINTS = 150;

type Workers = ClusterSnapshot['workers'];

/** `worker-10` behind `worker-9`. */
const BY_NAME = new Intl.Collator('en', { numeric: true });
const byName = (workers: Workers): Workers => workers.toSorted((a, b) => BY_NAME.compare(a.id, b.id));

/** A snapshot with its workers in the order in which they are shown. */
export function ordered(snapshot: ClusterSnapshot): ClusterSnapshot {
  return { ...snapshot, workers: byName(snapshot.workers) };
}

/** What is known of the cluster after an event; a delta of nothing known tells nothing. */
export function after(
  known: ClusterSnapshot | undefined,
  name: string | undefined,
  data: string,
): ClusterSnapshot | undefined {
  if (name === 'snapshot') return ordered(JSON.parse(data) as ClusterSnapshot);
  return name === 'delta' && known ? merge(known, JSON.parse(data) as ClusterDelta) : known;
}

/** What is known of the cluster after a delta. What has not changed keeps its identity, so that it is not drawn again. */
export function merge(known: ClusterSnapshot, delta: ClusterDelta): ClusterSnapshot {
  return {
    ...known,
    at: delta.at,
    router: delta.router ?? known.router,
    totals: delta.totals ?? known.totals,
    workers: workersAfter(known.workers, delta),
    requests: newestFirst(
      replaced(known.requests, delta.requests, delta.gone_requests, ({ serial }) => serial),
      known.requests,
    ),
    history: appended(known.history, delta.points),
  };
}

/** Sorted again where one has come, which is seldom. */
function workersAfter(known: Workers, { workers, gone_workers: gone }: ClusterDelta): Workers {
  const after = replaced(known, workers, gone, ({ id }) => id);
  return after.length > known.length - (gone?.length ?? 0) ? byName(after) : after;
}

/** In their places; new ones at the end. */
function replaced<Item, Key>(
  items: Item[],
  changed: readonly Item[] | undefined,
  gone: readonly Key[] | undefined,
  keyOf: (item: Item) => Key,
): Item[] {
  if (!changed && !gone) return items;
  const left = new Map((changed ?? []).map((item) => [keyOf(item), item]));
  const lost = new Set(gone);
  const kept: Item[] = [];
  for (const item of items) {
    const key = keyOf(item);
    if (lost.has(key)) continue;
    kept.push(left.get(key) ?? item);
    left.delete(key);
  }
  return [...kept, ...left.values()];
}

const isOver = ({ ended_at }: ClusterSnapshot['requests'][number]) => ended_at !== null;

/** Those in flight first, each part from its newest. */
function newestFirst(
  requests: ClusterSnapshot['requests'],
  before: ClusterSnapshot['requests'],
): ClusterSnapshot['requests'] {
  if (requests === before) return before;
  return requests.sort((a, b) => Number(isOver(a)) - Number(isOver(b)) || b.serial - a.serial);
}

function appended(history: ClusterPoint[], points: readonly ClusterPoint[] | undefined): ClusterPoint[] {
  if (!points) return history;
  const latest = history.at(-1)?.at ?? -Infinity;
  return [...history, ...points.filter(({ at }) => at > latest)].slice(-MOST_POINTS);
}
