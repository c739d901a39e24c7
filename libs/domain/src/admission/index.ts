export * from './admission-queue.js';
