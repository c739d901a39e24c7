import { type ServerDuplexStream, status } from '@grpc/grpc-js';
import type { ConnectRequest, ConnectResponse, Event, Progress } from '@kvcapsule/contracts/worker';
import { fromWire, toWire } from '@kvcapsule/platform/worker-wire';

import type { Executor, SenderEvent } from '../executor.js';
import { FrameSink } from './frame-sink.js';

/** How often a stream with requests says how far they are: well within the second that the protocol allows. */
const PROGRESS_INTERVAL_MS = 500;

/** How much may wait for a router that does not read: about 2 million tokens of text. */
const HELD_BYTES = 16 * 1024 * 1024;

/**
 * One router's stream: requests and aborts in, frames out. A broken stream aborts its requests, and so does one whose
 * router leaves more than `HELD_BYTES` unread.
 */
export class RouterStream {
  readonly #open = new Set<string>();
  readonly #frames: FrameSink;
  #halfClosed = false;
  #progressTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly id: string,
    private readonly call: ServerDuplexStream<ConnectRequest, ConnectResponse>,
    private readonly executor: Executor,
  ) {
    this.#frames = new FrameSink({
      write: (frame) => call.write(frame),
      heldBytes: HELD_BYTES,
      overflow: () => {
        this.#giveUp();
      },
    });
    call.on('drain', () => {
      this.#frames.drained();
      this.#endWhenDone();
    });
    call.on('data', (request: ConnectRequest) => {
      this.#receive(request);
    });
    call.on('end', () => {
      this.#halfClosed = true;
      this.#endWhenDone();
    });
    for (const event of ['cancelled', 'error', 'close']) {
      call.on(event, () => {
        this.#broken();
      });
    }
  }

  #push(event: Event): void {
    this.#frames.push(event);
    if (event.event?.$case !== 'finished' && event.event?.$case !== 'failed') return;
    this.#open.delete(this.#key(event.requestId));
    this.#reportWhileOpen();
    this.#endWhenDone();
  }

  #receive({ message }: ConnectRequest): void {
    if (message?.$case === 'abort') {
      this.executor.abort(this.#key(message.value.requestId));
    } else if (message?.$case === 'generate') {
      const key = this.#key(message.value.requestId);
      // what was sent twice runs once
      if (this.#open.has(key)) return;
      this.#open.add(key);
      this.#reportWhileOpen();
      const { requestId, pictures, traceparent } = message.value;
      const files = pictures.map(({ file }) => file);
      const sink = (event: SenderEvent): void => {
        this.#push(eventOf(requestId, event));
      };
      this.executor.submit(key, fromWire(message.value), files, sink, traceparent);
    }
  }

  #key(requestId: string): string {
    return `${this.id}/${requestId}`;
  }

  #broken(): void {
    this.#frames.close();
    for (const key of [...this.#open]) this.executor.abort(key);
    this.#open.clear();
    this.#reportWhileOpen();
  }

  /** The event loop is free while the engine's thread computes, so a long step holds no report up. */
  #reportWhileOpen(): void {
    if (this.#open.size === 0) {
      clearInterval(this.#progressTimer);
      this.#progressTimer = undefined;
    }
    if (this.#open.size === 0 || this.#progressTimer) return;
    this.#progressTimer = setInterval(() => {
      // a router that does not read learns nothing from it either
      if (this.#frames.full) return;
      this.call.write({ events: [], progress: this.#progress() });
    }, PROGRESS_INTERVAL_MS);
  }

  #progress(): Progress {
    const { steps, prefills } = this.executor.progress(this.#open.keys());
    return {
      steps: BigInt(steps),
      prefills: [...prefills],
    };
  }

  #giveUp(): void {
    this.#broken();
    const details = 'the router does not read what its requests make';
    this.call.emit('error', Object.assign(new Error(details), { code: status.RESOURCE_EXHAUSTED, details }));
  }

  /** The router sends nothing more: the stream ends with its last request. */
  #endWhenDone(): void {
    if (!this.#halfClosed || this.#open.size > 0) return;
    this.#frames.flush();
    if (this.#frames.heldBytes === 0) this.call.end();
  }
}

function eventOf(requestId: string, event: SenderEvent): Event {
  if (event.kind !== 'needPicture') return toWire(requestId, event);
  const { ticket, index } = event;
  return { requestId, event: { $case: 'needPicture', value: { ticket, index } } };
}
