import { type Client, Metadata, status } from '@grpc/grpc-js';
import { HealthCheckRequest, HealthService } from '@kvcapsule/contracts/health';

/** The first look at a process that has just begun may take as long; it is asked again. */
const PROBE_MS = 1_000;
/** Of a port that nobody reads from, or whose connections are dropped; any other is an answer of the process. */
const NO_ANSWER: readonly status[] = [status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.CANCELLED];

/**
 * Asks the process behind a channel for its health and says whether it answers, whatever it says. A channel that is
 * ready shows less: the kernel takes connections for a process that stands still, a proxy for one that is out of reach.
 */
export function probe(client: Client, told: (isAnswered: boolean) => void): void {
  const { path, requestSerialize, responseDeserialize } = HealthService.check;
  const deadline = Date.now() + PROBE_MS;
  client.makeUnaryRequest(
    path,
    requestSerialize,
    responseDeserialize,
    HealthCheckRequest.create(),
    new Metadata(),
    { deadline },
    (error) => {
      told(!error || !NO_ANSWER.includes(error.code));
    },
  );
}
