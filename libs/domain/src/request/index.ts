export * from './client-request-id.js';
export * from './limits.js';
export * from './principal.js';
export * from './sampling.js';
