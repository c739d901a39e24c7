export * from '../gen/kvcapsule/worker/v1/worker.js';
