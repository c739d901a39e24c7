export * from './ledger.port.js';
export * from './refusals.js';
export * from './worker-ledger.js';
