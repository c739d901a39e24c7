export * from './cache-domain.js';
export * from './content-chain.js';
export * from './content-name.js';
export * from './file-name.js';
export * from './unit-cutter.js';
