export * from './engine-model.js';
export * from './simulated-model.js';
