export * from './marker-rows.js';
export * from './span-format.js';
export * from './text-runs.js';
