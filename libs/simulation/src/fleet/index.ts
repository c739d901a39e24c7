export * from './simulated-workers.js';
