import type { ClusterDelta, ClusterPoint, ClusterSnapshot } from '@kvcapsule/contracts/cluster';

/** As many points as a snapshot's history has. */
const MOST_POINTS = 150;

/** What is known of the cluster after a delta. What has not changed keeps its identity, so that it is not drawn again. */
export function merge(known: ClusterSnapshot, delta: ClusterDelta): ClusterSnapshot {
  return {
    ...known,
    at: delta.at,
    router: delta.router ?? known.router,
    totals: delta.totals ?? known.totals,
    workers: replaced(known.workers, delta.workers, delta.gone_workers, ({ id }) => id),
    requests: newestFirst(
      replaced(known.requests, delta.requests, delta.gone_requests, ({ serial }) => serial),
      known.requests,
    ),
    history: appended(known.history, delta.points),
  };
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
