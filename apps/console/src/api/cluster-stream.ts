import type { ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import { batch, signal } from '@preact/signals';
import { after } from '../state/merge.js';
import { apiKey, keyWanted } from './client.js';
import { type Connection, Feed, type FeedListener } from './feed.js';
import { type News, type Wish, WISH_INTERVAL_MS } from './shared-messages.js';

/** Everything that is known of the cluster; undefined before the first snapshot. */
export const cluster = signal<ClusterSnapshot | undefined>(undefined);
export const connection = signal<Connection>('connecting');

/** Where events come from: with `undefined` for a key, none are wanted. */
type Source = (key: string | undefined) => void;

/** The worker answers a wish at once, and passes on a word of the router every ten seconds. */
const FIRST_WORD_MS = 5_000;
const NEXT_WORD_MS = 30_000;
const LOOK_MS = 1_000;
/** Looks are this late where the machine has slept. */
const NAP_MS = 6_000;

const listener: FeedListener = {
  state: (state) => {
    connection.value = state;
    if (state === 'locked') keyWanted.value = true;
  },
  event: (name, data) => {
    batch(() => {
      cluster.value = after(cluster.value, name, data);
      connection.value = 'live';
    });
  },
};

/**
 * Follows the cluster for as long as the page lives. Browsers open six connections to a server for all windows
 * together, so that those of one browser share a stream where it lets them, and a window that nobody sees has none.
 */
export function follow(): void {
  const url = new URL('v1/cluster/events', document.baseURI).href;
  let source: Source = ownStream(url);
  const wish = () => {
    source(document.hidden || keyWanted.value ? undefined : apiKey.value);
  };
  source = sharedStream(url, () => {
    source = ownStream(url);
    wish();
  });
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) connection.value = 'connecting';
    wish();
  });
  addEventListener('pagehide', () => {
    source(undefined);
  });
  addEventListener('pageshow', wish);
  addEventListener('offline', () => {
    connection.value = 'lost';
  });
  setInterval(wish, WISH_INTERVAL_MS);
  apiKey.subscribe(wish);
  keyWanted.subscribe(wish);
  watchNaps();
}

/** What was shown before the machine slept is not what is: it counts again once somebody says so. */
function watchNaps(): void {
  let lookedAt = Date.now();
  setInterval(() => {
    const now = Date.now();
    if (now - lookedAt > NAP_MS && connection.value === 'live') connection.value = 'lost';
    lookedAt = now;
  }, LOOK_MS);
}

function ownStream(url: string): Source {
  let feed: Feed | undefined;
  let known: string | undefined;
  return (key) => {
    if (key === known) return;
    known = key;
    feed?.stop();
    feed = key === undefined ? undefined : new Feed(url, key, listener);
  };
}

/** @param onFailure no such worker is to be had, or it has stopped */
function sharedStream(url: string, onFailure: () => void): Source {
  const worker = open();
  if (!worker) return ownStream(url);
  let isWanted = false;
  let patience: ReturnType<typeof setTimeout> | undefined;
  const fail = () => {
    clearTimeout(patience);
    worker.port.close();
    onFailure();
  };
  const awaitWord = (ms: number) => {
    clearTimeout(patience);
    patience = isWanted ? setTimeout(fail, ms) : undefined;
  };
  worker.onerror = fail;
  worker.port.onmessage = ({ data: news }: MessageEvent<News>) => {
    if (!isWanted) return;
    awaitWord(NEXT_WORD_MS);
    if (news.kind === 'state') listener.state(news.state);
    else if (news.kind === 'event') listener.event(news.name, news.data);
    else cluster.value = news.known;
  };
  return (key) => {
    const wish: Wish = { url, key };
    const wasWanted = isWanted;
    isWanted = key !== undefined;
    worker.port.postMessage(wish);
    if (isWanted !== wasWanted) awaitWord(FIRST_WORD_MS);
  };
}

/** Some browsers have none, some settings forbid it. */
function open(): SharedWorker | undefined {
  try {
    return new SharedWorker(new URL('./shared-stream.worker.ts', import.meta.url), { type: 'module' });
  } catch {
    return undefined;
  }
}
