export * from './registry.port.js';
export * from './roster.js';
export * from './router-roll.js';
