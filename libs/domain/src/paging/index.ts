export * from './page-demand.js';
export * from './page-pool.js';
export * from './prefix-cache.js';
export * from './stored-span.js';
