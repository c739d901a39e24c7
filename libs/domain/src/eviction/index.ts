export * from './policies.js';
export type * from './policy.js';
export * from './rebuild-cost.js';
export * from './coordinated/coordinated.js';
export type * from './coordinated/owned.js';
