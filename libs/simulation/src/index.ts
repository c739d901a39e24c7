export * from './costs/index.js';
export * from './engine/index.js';
export * from './fleet/index.js';
export * from './model/index.js';
