export * from './load-run.js';
export type * from './plan.js';
