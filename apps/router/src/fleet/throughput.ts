import { HEARTBEAT_INTERVAL_MS, type WorkerRecord } from '@kvcapsule/domain/registry';

/** Announcements of freed pages come in between heartbeats; a rate over a few milliseconds says nothing. */
const LEAST_MS = 1_000;
/** A worker that draws nothing has nothing new to tell. */
const STANDS_MS = 1.5 * HEARTBEAT_INTERVAL_MS;

/** Tokens that a worker draws in a second, by what its heartbeats count. */
export class Throughput {
  #epoch = 0;
  #drawnTokens = 0;
  #notedMs = -Infinity;
  #perSecond = 0;

  note({ epoch, load: { pool } }: WorkerRecord, nowMs: number): void {
    if (!pool) return;
    // one that had nothing new to tell has drawn all of it since the heartbeat before
    const seconds = Math.min(nowMs - this.#notedMs, HEARTBEAT_INTERVAL_MS) / 1_000;
    const isSame = epoch === this.#epoch && pool.drawnTokens >= this.#drawnTokens;
    if (isSame && nowMs - this.#notedMs < LEAST_MS) return;
    this.#perSecond = isSame ? (pool.drawnTokens - this.#drawnTokens) / seconds : 0;
    this.#epoch = epoch;
    this.#drawnTokens = pool.drawnTokens;
    this.#notedMs = nowMs;
  }

  perSecond(nowMs: number): number {
    return nowMs - this.#notedMs > STANDS_MS ? 0 : this.#perSecond;
  }
}
