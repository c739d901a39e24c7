export * from './load-spec.js';
export * from './probe.js';
export * from './run-shard.js';
