import { type handleUnaryCall, status } from '@grpc/grpc-js';
import {
  type HealthCheckRequest,
  type HealthCheckResponse,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from '@kvcapsule/contracts/health';
import { WorkerServiceService } from '@kvcapsule/contracts/worker';
import type { ServingState } from '@kvcapsule/serving';

/** `/package.Service/Method` → `package.Service` */
const WORKER_SERVICE = WorkerServiceService.connect.path.split('/')[1] ?? '';

/**
 * `grpc.health.v1.Health/Check`, which Kubernetes' probes ask. Without a service it tells whether the process is
 * sound (liveness: a draining one is), for the worker's service whether it takes requests (readiness).
 */
export function createHealthCheck(
  state: () => ServingState,
): handleUnaryCall<HealthCheckRequest, HealthCheckResponse> {
  return ({ request: { service } }, callback) => {
    if (service !== '' && service !== WORKER_SERVICE) {
      callback({ code: status.NOT_FOUND, details: 'unknown service' });
      return;
    }
    const serves = service === '' ? state() !== 'failed' : state() === 'ready';
    callback(null, { status: serves ? ServingStatus.SERVING : ServingStatus.NOT_SERVING });
  };
}
