import { describe, expect, it } from 'vitest';
import { startCluster, startSentinels, startServer, type Store } from '@kvcapsule/testing/redis';
import { ask, Cluster, quiet, until } from './harness.js';

const SHORT = { model: 'emoji-vlm', temperature: 0, max_tokens: 8, messages: [ask('Hello!')] };
/** In the slot that the worker has in a Cluster. */
const KEY = 'kvc:v1:{worker-0}:info:worker-0';
/** Ends a hang: an election takes seconds, on a busy machine many. */
const BACK_MS = 60_000;

interface Kind {
  readonly name: string;
  /** The store, and how whoever leads comes to lead no more. */
  start(): Promise<{ readonly store: Store; readonly fault: (cluster: Cluster) => Promise<void> }>;
}

const KINDS: readonly Kind[] = [
  {
    name: 'one server, which is killed and comes back empty',
    start: async () => {
      const store = await startServer({ password: 'of-the-tests' });
      const fault = async (cluster: Cluster) => {
        await store.server.kill();
        await cluster.restartStore();
      };
      return { store, fault };
    },
  },
  {
    name: 'servers behind Sentinels, whose master steps down',
    start: async () => {
      const store = await startSentinels();
      return { store, fault: () => store.failOver('asked to step down') };
    },
  },
  {
    name: 'a Cluster, where the master of the worker’s keys steps down',
    start: async () => {
      const store = await startCluster({ replicas: true });
      return { store, fault: () => store.failOver(KEY, 'asked to step down') };
    },
  },
];

/** Statuses of requests that are sent one after the other until `stop`. */
function steadily(cluster: Cluster) {
  const statuses: number[] = [];
  let ended = false;
  const run = (async () => {
    while (!ended) {
      const response = await cluster.chat(SHORT);
      await response.text();
      statuses.push(response.status);
    }
  })();
  const stop = async () => {
    ended = true;
    await run;
  };
  return { statuses, stop };
}

describe.each(KINDS)('$name', ({ start }) => {
  it('answers before, is back by itself after, and its accounts are at zero then', async () => {
    const { store, fault } = await start();
    const cluster = await Cluster.start({ store: () => Promise.resolve(store) });
    try {
      const load = steadily(cluster);
      await until(() => load.statuses.length >= 3, BACK_MS);
      await fault(cluster);
      await until(() => load.statuses.slice(-5).join() === '200,200,200,200,200', BACK_MS);
      await load.stop();
      expect(load.statuses.filter((status) => status !== 200 && status !== 503)).toEqual([]);
      expect(Object.values(await quiet(cluster)).every((count) => count === 0)).toBe(true);
    } finally {
      await cluster.stop();
    }
  }, 300_000);
});
