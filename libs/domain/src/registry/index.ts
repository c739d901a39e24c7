export * from './registry.port.js';
export * from './roster.js';
