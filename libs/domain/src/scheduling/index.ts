export type * from './accounts.js';
export type * from './description.js';
export type { Holding } from './holdings.js';
export * from './scheduler.js';
export type * from './step.js';
