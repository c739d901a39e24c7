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
  return Promise.resolve({ registry: new MemoryRegistry(store), ledger: new MemoryLedger(store), pass });
};

ledgerConformance(make);
registryConformance(make);
