import type { ClusterDelta, ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import { batch, signal } from '@preact/signals';
import { backoffMs } from '../state/backoff.js';
import { merge, ordered } from '../state/merge.js';
import { ApiError, keyWanted, request } from './client.js';
import { readEvents } from './events.js';

export type Connection = 'connecting' | 'live' | 'lost' | 'locked';

/** Everything that is known of the cluster; undefined before the first snapshot. */
export const cluster = signal<ClusterSnapshot | undefined>(undefined);
export const connection = signal<Connection>('connecting');

/** A stream tells something every ten seconds; one that is silent for longer is made anew. */
const SILENCE_MS = 25_000;

let attempt = new AbortController();

/**
 * Follows the cluster for as long as the page lives, over one stream at a time. A tab that nobody sees has none:
 * browsers open six connections to a server, for all tabs together.
 */
export async function follow(): Promise<never> {
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) attempt.abort();
  });
  let failures = 0;
  for (;;) {
    await shown();
    attempt = new AbortController();
    const isLocked = await listen(attempt.signal, () => (failures = 0)).catch(lostAs);
    if (document.hidden) {
      connection.value = 'connecting';
      continue;
    }
    connection.value = isLocked === true ? 'locked' : 'lost';
    failures += 1;
    if (isLocked === true) await keyChange();
    else await pause(backoffMs(failures, Math.random()));
  }
}

const lostAs = (error: unknown): boolean => error instanceof ApiError && error.status === 401;

async function listen(signal: AbortSignal, onEvent: () => void): Promise<boolean> {
  // from the request on: a proxy may take it and say nothing
  let silence = watch();
  const heard = () => {
    clearTimeout(silence);
    silence = watch();
  };
  try {
    const { body } = await request('v1/cluster/events', { signal });
    if (body)
      await readEvents(
        body,
        ({ event, data }) => {
          heard();
          onEvent();
          take(event, data);
        },
        heard,
      );
    return false;
  } finally {
    clearTimeout(silence);
  }
}

function take(event: string | undefined, data: string): void {
  batch(() => {
    connection.value = 'live';
    if (event === 'snapshot') cluster.value = ordered(JSON.parse(data) as ClusterSnapshot);
    else if (event === 'delta' && cluster.value)
      cluster.value = merge(cluster.value, JSON.parse(data) as ClusterDelta);
  });
}

const watch = () => setTimeout(() => attempt.abort(), SILENCE_MS);
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

function shown(): Promise<void> {
  return new Promise((resolve) => {
    if (!document.hidden) resolve();
    else
      document.addEventListener(
        'visibilitychange',
        () => {
          resolve(shown());
        },
        { once: true },
      );
  });
}

/** Somebody has entered a key, be it the same one. */
function keyChange(): Promise<void> {
  return new Promise((resolve) => {
    const stop = keyWanted.subscribe((isWanted) => {
      if (isWanted) return;
      // not from within the subscription that it ends
      queueMicrotask(() => {
        stop();
      });
      resolve();
    });
  });
}
