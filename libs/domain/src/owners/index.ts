export * from './cache-log.js';
export * from './cache-reader.js';
