export * from './step-plan.js';
export * from './sampling-arrays.js';
