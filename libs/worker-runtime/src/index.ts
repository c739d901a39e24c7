export { type DecodeImage } from './executor.js';
export { nameImageProcessor } from './pictures/image-processor.js';
export { startWorker, type Worker, type WorkerParts } from './worker.js';
