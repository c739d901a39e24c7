export * from './generation/sampling.js';
export * from './generation/text-stream.js';
export * from './generation/token-counts.js';
export * from './pictures/encoder-cache.js';
export * from './pictures/feature-room.js';
export type * from './pictures/names.js';
