export * from './fit-costs.js';
export * from './step-costs.js';
