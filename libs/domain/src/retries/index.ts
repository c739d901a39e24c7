export * from './attempts.js';
export * from './circuit-breaker.js';
export * from './retry-budget.js';
