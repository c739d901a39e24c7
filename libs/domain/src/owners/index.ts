export * from './cache-log.js';
export * from './cached-item.js';
export * from './cache-reader.js';
export * from './owners-index.js';
export * from './keeper.js';
export type { Holding } from './holdings.js';
