export * from './bootstrap.js';
export * from './wilson.js';
