export * from './cluster-admission.schema.js';
export * from './cluster.schema.js';
export * from './cluster-formats.schema.js';
export * from './cluster-pages.schema.js';
export * from './cluster-request.schema.js';
