export * from './block-allocator.js';
export * from './page-demand.js';
export * from './stored-span.js';
