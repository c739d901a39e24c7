import type { ConnectResponse, Event } from '@kvcapsule/contracts/worker';

/** Gathers what happens in one turn of the event loop, one engine step above all, into one frame. */
export class FrameSink {
  #events: Event[] = [];
  #closed = false;

  constructor(private readonly write: (frame: ConnectResponse) => void) {}

  push(event: Event): void {
    if (this.#closed) return;
    this.#events.push(event);
    if (this.#events.length === 1) {
      queueMicrotask(() => {
        this.flush();
      });
    }
  }

  flush(): void {
    if (this.#closed || this.#events.length === 0) return;
    const events = this.#events;
    this.#events = [];
    this.write({ events });
  }

  /** Nobody reads any more. */
  close(): void {
    this.#closed = true;
    this.#events = [];
  }
}
