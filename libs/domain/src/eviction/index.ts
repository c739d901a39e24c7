export * from './policies.js';
export type * from './policy.js';
export * from './rebuild-costs.js';
export * from './coordinated/coordinated.js';
export type * from './coordinated/owned.js';
