export * from '../gen/kvcapsule/worker/v1/worker.js';
export { pictureHead } from './picture-head.js';
export { WorkerServiceClient, WorkerServiceService } from './service.js';
