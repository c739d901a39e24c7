export * from './load-result.js';
