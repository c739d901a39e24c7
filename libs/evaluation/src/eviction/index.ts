export * from './optimum.js';
export * from './reachable.js';
export * from './replay.js';
export type * from './trace.js';
export * from './traffic.js';
