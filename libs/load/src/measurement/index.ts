export * from './distribution.js';
export * from './gap-histogram.js';
export * from './recorder.js';
export * from './request-record.js';
export * from './slo.js';
export * from './summary.js';
