import { EventEmitter } from 'node:events';
import { connectivityState, status } from '@grpc/grpc-js';
import {
  type ConnectRequest,
  ConnectResponse,
  type Event,
  type WorkerServiceClient,
} from '@kvcapsule/contracts/worker';

/** A stream that the test speaks on. */
export class FakeStream extends EventEmitter {
  readonly written: ConnectRequest[] = [];
  cancelled = false;

  write(message: ConnectRequest): boolean {
    this.written.push(message);
    return true;
  }

  cancel(): void {
    this.cancelled = true;
  }

  say(frame: { readonly events?: Event[]; readonly steps?: number }): void {
    const { events = [], steps } = frame;
    const progress = steps === undefined ? undefined : { steps: BigInt(steps), prefills: [] };
    this.emit('data', ConnectResponse.create({ events, progress }));
  }
}

/** A gRPC client without a network: its connection stands while `state` says so. */
export class FakeClient {
  readonly streams: FakeStream[] = [];
  /** Whether the process behind it answers what is asked apart from the stream. */
  answers = true;
  state = connectivityState.READY;
  closed = false;

  connect(): FakeStream {
    const stream = new FakeStream();
    this.streams.push(stream);
    return stream;
  }

  getChannel() {
    return { getConnectivityState: () => this.state };
  }

  makeUnaryRequest(...args: readonly unknown[]): void {
    const tell = args.at(-1) as (error: { code: status } | null) => void;
    tell(this.answers ? null : { code: status.DEADLINE_EXCEEDED });
  }

  close(): void {
    this.closed = true;
  }

  get stream(): FakeStream {
    const stream = this.streams.at(-1);
    if (!stream) throw new Error('nobody has connected');
    return stream;
  }

  get asClient(): WorkerServiceClient {
    return this as unknown as WorkerServiceClient;
  }
}
