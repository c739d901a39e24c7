export * from './scheduler.js';
export type * from './step.js';
