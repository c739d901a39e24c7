export * from './block-allocator.js';
export * from './page-demand.js';
