export * from './cluster-admission.schema.js';
