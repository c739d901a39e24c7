import { randomUUID } from 'node:crypto';

import { type handleUnaryCall, status } from '@grpc/grpc-js';
import type {
  DrainRequest,
  DrainResponse,
  SetAdmissionRequest,
  SetAdmissionResponse,
  WorkerServiceServer,
} from '@kvcapsule/contracts/worker';
import type { StoredFormat } from '@kvcapsule/engine';
import type { Serving } from '@kvcapsule/serving';
import type { Logger } from 'pino';

import type { Executor } from '../executor.js';
import type { PictureInbox } from '../pictures/picture-inbox.js';
import { CacheAccount } from './cache-account.js';
import { formatsOnWire, once } from './format-description.js';
import { describePool } from './pool-description.js';
import { receivePicture } from './picture-stream.js';
import { RouterStream } from './router-stream.js';

export interface WorkerRpcOptions {
  readonly executor: Executor;
  readonly pictures: PictureInbox;
  /** Whose caches are told of. */
  readonly serving: Serving;
  /** Drains and tells the registry. */
  readonly drain: (timeoutMs: number) => Promise<number>;
  /** Takes requests or none, and tells the registry; false where the worker ends or has failed. */
  readonly setAdmission: (isOpen: boolean) => Promise<boolean>;
  /** What is kept of each layer; undefined: nobody knows. */
  readonly describeFormats: (() => Promise<readonly StoredFormat[]>) | undefined;
  readonly logger: Logger;
}

/** `kvcapsule.worker.v1.WorkerService` over one serving loop. */
export function createWorkerRpc({
  executor,
  pictures,
  serving,
  drain,
  setAdmission,
  describeFormats,
  logger,
}: WorkerRpcOptions): WorkerServiceServer {
  let streams = 0;
  const formats = once(async () => formatsOnWire((await describeFormats?.()) ?? []));
  const account = new CacheAccount(serving, randomUUID());
  const drainCall: handleUnaryCall<DrainRequest, DrainResponse> = ({ request }, callback) => {
    drain(Math.max(0, request.timeoutMs)).then(
      (aborted) => {
        callback(null, { aborted });
      },
      (error: unknown) => {
        logger.error({ err: error }, 'draining failed');
        callback({ code: status.INTERNAL, details: 'draining failed' });
      },
    );
  };
  const admissionCall: handleUnaryCall<SetAdmissionRequest, SetAdmissionResponse> = (
    { request },
    callback,
  ) => {
    setAdmission(request.open).then(
      (isSet) => {
        if (isSet) callback(null, { running: serving.running, waiting: serving.waiting });
        else callback({ code: status.FAILED_PRECONDITION, details: 'the worker ends, or has failed' });
      },
      (error: unknown) => {
        logger.error({ err: error }, 'the admission of requests was not set');
        callback({ code: status.INTERNAL, details: 'the admission was not set' });
      },
    );
  };
  return {
    connect: (call) => {
      streams += 1;
      new RouterStream(String(streams), call, executor);
    },
    sendPicture: receivePicture(pictures),
    drain: drainCall,
    setAdmission: admissionCall,
    watchCache: account.watch,
    adviseEviction: account.advise,
    describePool: (_call, callback) => {
      callback(null, describePool(serving));
    },
    describeFormats: (_call, callback) => {
      formats().then(
        (description) => {
          callback(null, description);
        },
        (error: unknown) => {
          logger.error({ err: error }, 'the profiles could not be described');
          callback({ code: status.INTERNAL, details: 'the profiles could not be described' });
        },
      );
    },
  };
}
