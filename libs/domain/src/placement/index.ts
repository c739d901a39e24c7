export { firstTokenTokens, ownTokens } from './cost-model.js';
export * from './left-alone.js';
export * from './pages-by-class.js';
export * from './place.js';
export * from './placement.js';
export * from './policies.js';
export * from './storage-class.js';
export * from './system-fingerprint.js';
export * from './workload/workload.js';
