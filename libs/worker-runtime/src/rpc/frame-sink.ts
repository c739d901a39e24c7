import type { ConnectResponse, Delta, Event } from '@kvcapsule/contracts/worker';

/** A frame is cut here, so that a router that reads again is not held up by decoding one. */
const FRAME_BYTES = 256 * 1024;
const EVENT_BYTES = 64;
const LOGPROB_BYTES = 96;

interface FrameSinkOptions {
  /** Returns false when the stream is full; `drained` is called when it is not any more. */
  readonly write: (frame: ConnectResponse) => boolean;
  /** How much may wait while the stream is full. */
  readonly heldBytes: number;
  /** More waits than that: the stream is given up. */
  readonly overflow: () => void;
}

/**
 * Gathers what happens in one turn of the event loop, one engine step above all, into one frame. While the stream
 * is full nothing is written: what waits grows by the text, ids and log-probabilities of new tokens alone, since a
 * request's deltas become one.
 */
export class FrameSink {
  #events: Event[] = [];
  #bytes = 0;
  /** Each request's last event, where that is a delta that may grow: it is in `#events`. */
  readonly #growing = new Map<string, Delta>();
  #full = false;
  #closed = false;

  constructor(private readonly options: FrameSinkOptions) {}

  /** Whether the router reads more slowly than its requests make tokens. */
  get full(): boolean {
    return this.#full;
  }

  /** What waits, as it is counted here. */
  get heldBytes(): number {
    return this.#bytes;
  }

  push(event: Event): void {
    if (this.#closed) return;
    if (this.#full) this.#hold(event);
    else this.#add(event);
    if (!this.#full && this.#events.length === 1) {
      queueMicrotask(() => {
        this.flush();
      });
    }
  }

  flush(): void {
    while (!this.#closed && !this.#full && this.#events.length > 0) {
      this.#full = !this.options.write({ events: this.#nextFrame() });
    }
  }

  /** The stream takes frames again. */
  drained(): void {
    this.#full = false;
    this.flush();
  }

  /** Nobody reads any more. */
  close(): void {
    this.#closed = true;
    this.#clear();
  }

  #add(event: Event): void {
    this.#events.push(event);
    this.#bytes += EVENT_BYTES + bytesOf(event);
  }

  /** Adds a delta to the one of its request that waits already. */
  #hold(event: Event): void {
    const { requestId } = event;
    if (event.event?.$case === 'delta') {
      const { text, tokenIds, logprobs } = event.event.value;
      const last = this.#growing.get(requestId);
      if (last) {
        last.text += text;
        for (const tokenId of tokenIds) last.tokenIds.push(tokenId);
        for (const logprob of logprobs) last.logprobs.push(logprob);
        this.#bytes += bytesOf(event);
      } else {
        // its arrays may be others' too, who would see them grow
        const value = { text, tokenIds: [...tokenIds], logprobs: [...logprobs] };
        this.#growing.set(requestId, value);
        this.#add({ ...event, event: { $case: 'delta', value } });
      }
    } else {
      this.#growing.delete(requestId);
      this.#add(event);
    }
    this.#checkHeld();
  }

  #nextFrame(): Event[] {
    let [count, bytes] = [0, 0];
    for (const event of this.#events) {
      bytes += EVENT_BYTES + bytesOf(event);
      if (count > 0 && bytes > FRAME_BYTES) break;
      count += 1;
    }
    if (count === this.#events.length) {
      const all = this.#events;
      this.#clear();
      return all;
    }
    const frame = this.#events.splice(0, count);
    this.#bytes = this.#events.reduce((sum, event) => sum + EVENT_BYTES + bytesOf(event), 0);
    for (const { requestId } of frame) this.#growing.delete(requestId);
    return frame;
  }

  #clear(): void {
    this.#events = [];
    this.#bytes = 0;
    this.#growing.clear();
  }

  #checkHeld(): void {
    if (this.#bytes <= this.options.heldBytes) return;
    this.close();
    this.options.overflow();
  }
}

/** About what an event takes beside its frame: only what grows with tokens is worth counting. */
function bytesOf({ event }: Event): number {
  if (event?.$case === 'finished') return 2 * event.value.text.length;
  if (event?.$case !== 'delta') return 0;
  const { text, logprobs, tokenIds } = event.value;
  const scores = logprobs.reduce((sum, { top }) => sum + 1 + top.length, 0);
  return 2 * text.length + 4 * tokenIds.length + LOGPROB_BYTES * scores;
}
