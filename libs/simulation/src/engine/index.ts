export * from './answers.js';
export * from './engine-time.js';
export * from './timed-engine.js';
