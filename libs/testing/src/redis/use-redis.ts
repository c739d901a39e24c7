import { afterAll, beforeAll } from 'vitest';

import type { Store } from './store.js';

interface Client {
  disconnect(): void;
}

/** Ends a hang: what a store is made of may have to be fetched first. */
const START_TIMEOUT_MS = 300_000;

/** A store for all tests of a file or of a `describe`: there from the first one to the last, with a client of it. */
export function useRedis<S extends Store, C extends Client>(
  start: () => Promise<S>,
  open: (store: S) => Promise<C>,
): { readonly store: S; readonly client: C } {
  const used: { store?: S; client?: C } = {};
  beforeAll(async () => {
    used.store = await start();
    used.client = await open(used.store);
  }, START_TIMEOUT_MS);
  afterAll(async () => {
    used.client?.disconnect();
    await used.store?.stop();
  });
  // both are there once the first test runs
  return used as { readonly store: S; readonly client: C };
}
