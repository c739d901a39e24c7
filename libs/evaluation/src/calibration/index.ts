export * from './batch-runner.js';
export * from './calibrate.js';
export * from './fit.js';
export * from './grids.js';
export * from './packed.js';
export * from './pieces.js';
export * from './retention.js';
