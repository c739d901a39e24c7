export * from './attempts.js';
export * from './retry-budget.js';
