export * from './arrivals.js';
