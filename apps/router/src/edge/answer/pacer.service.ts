import { Injectable } from '@nestjs/common';

/** CPU that one write to a socket costs, most of it in the kernel: 15 to 20 µs on loopback. */
const WRITE_MS = 0.02;
/** Of one core, what writes may take before they become fewer. */
const SHARE = 0.05;
/** Nobody reads so fast as to notice. */
const LONGEST_MS = 25;

/** What a write is made for. */
export interface Paced {
  /** Writes whatever there is, at that time of `performance.now()`. */
  deliver(nowMs: number): void;
}

/**
 * Keeps the writes of many streams from taking the router's time: what a stream's frames bring within its interval
 * leaves in one write. The interval grows with the streams that are open (0.4 ms for each, 25 ms at most), so that
 * few streams are written to with every frame.
 */
@Injectable()
export class Pacer {
  #open = 0;
  #waiting: Paced[] = [];

  /** Between two writes to one stream. */
  get intervalMs(): number {
    return Math.min(LONGEST_MS, (this.#open * WRITE_MS) / SHARE);
  }

  /** Counts a stream until it leaves. */
  join(): void {
    this.#open += 1;
  }

  leave(): void {
    this.#open -= 1;
  }

  /** Delivers at that time of `performance.now()`, or before if others are due: streams of a frame go together. */
  at(dueMs: number, paced: Paced): void {
    this.#waiting.push(paced);
    if (this.#waiting.length > 1) return;
    setTimeout(
      () => {
        this.#deliver();
      },
      Math.max(0, dueMs - performance.now()),
    );
  }

  #deliver(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    const nowMs = performance.now();
    for (const paced of waiting) paced.deliver(nowMs);
  }
}
