import type { ReservingRouter } from '@kvcapsule/domain/ledger';

import { ledgerConformance } from './ledger-conformance.js';
import { MemoryLedger } from './memory-ledger.js';
import { MemoryRegistry } from './memory-registry.js';
import { MemoryStore } from './memory-store.js';
import { registryConformance } from './registry-conformance.js';

const make = () => {
  const store = new MemoryStore();
  const pass = (ms: number) => {
    store.nowMs += ms;
    return Promise.resolve();
  };
  const ledgerOf = (router: ReservingRouter) => new MemoryLedger(store, router);
  const [registry, ledger] = [new MemoryRegistry(store), new MemoryLedger(store)];
  return Promise.resolve({ registry, ledger, ledgerOf, pass });
};

ledgerConformance(make);
registryConformance(make);
