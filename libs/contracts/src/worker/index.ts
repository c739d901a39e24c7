export * from '../gen/kvcapsule/worker/v1/worker.js';
export { WorkerServiceClient, WorkerServiceService } from './service.js';
