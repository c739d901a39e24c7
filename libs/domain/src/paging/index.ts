export * from './blocks.js';
export * from './page-pool.js';
export * from './prefix-cache.js';
