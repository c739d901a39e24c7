export * from './rate-search.js';
