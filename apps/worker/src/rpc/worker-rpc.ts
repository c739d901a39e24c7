import { type handleUnaryCall, status } from '@grpc/grpc-js';
import {
  type DrainRequest,
  type DrainResponse,
  type GetHealthResponse,
  type GetInfoResponse,
  WorkerState,
  type WorkerServiceServer,
} from '@kvcapsule/contracts/worker';
import type { Logger } from 'pino';

import type { Serving } from '../serving/serving.js';
import { RouterStream } from './router-stream.js';

const STATES = {
  ready: WorkerState.WORKER_STATE_READY,
  draining: WorkerState.WORKER_STATE_DRAINING,
  failed: WorkerState.WORKER_STATE_FAILED,
} as const;

export interface WorkerRpcOptions {
  readonly serving: Serving;
  readonly info: () => GetInfoResponse;
  /** Drains and tells the registry. */
  readonly drain: (timeoutMs: number) => Promise<number>;
  readonly logger: Logger;
}

/** `kvcapsule.worker.v1.WorkerService` over one serving loop. */
export function createWorkerRpc({ serving, info, drain, logger }: WorkerRpcOptions): WorkerServiceServer {
  let streams = 0;
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
  return {
    connect: (call) => {
      streams += 1;
      new RouterStream(String(streams), call, serving);
    },
    getHealth: (_call, callback) => {
      callback(null, healthOf(serving));
    },
    getInfo: (_call, callback) => {
      callback(null, info());
    },
    drain: drainCall,
  };
}

function healthOf(serving: Serving): GetHealthResponse {
  const { freePages, capacityPages } = serving.scheduler.pool;
  const { running, waiting } = serving;
  return { state: STATES[serving.state], running, waiting, freePages, capacityPages };
}
