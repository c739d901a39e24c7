export * from './sampling-arrays.js';
export * from './step-plan.js';
export * from './step-runner.js';
