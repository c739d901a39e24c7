export type * from './accounts.js';
export type { KeptSpan } from './description.js';
export * from './guests.js';
export type { Holding } from './holdings.js';
export * from './kept-prompt.js';
export * from './named-prompt.js';
export * from './scheduler.js';
export type { SchedulerOptions } from './state.js';
export type * from './step.js';
