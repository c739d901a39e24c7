export * from './ledger-conformance.js';
export * from './memory-ledger.js';
export * from './memory-registry.js';
export * from './memory-store.js';
export * from './registry-conformance.js';
export * from './worker-records.js';
export * from './workers-of.js';
