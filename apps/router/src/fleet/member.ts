import {
  type Reach,
  type StorageClass,
  storageClass,
  type WorkerView,
  Workload,
} from '@kvcapsule/domain/placement';
import { HEARTBEAT_TTL_MS, type WorkerRecord } from '@kvcapsule/domain/registry';
import { type ChannelEvents, WorkerChannel } from './worker-channel.js';
import { lost } from './worker-link.js';
import type { Ports } from '../ports.js';

/** Pages given back show in what the worker says within three seconds: a heartbeat is two after the last. */
const FREED_SECONDS = 3;
/** As long as a worker takes to find out that Redis has forgotten it and to register again, and then some. */
const LIST_STANDS_MS = HEARTBEAT_TTL_MS;

/**
 * One worker as this router knows it: its record, what is in flight there, and the channel to it. It is its own view,
 * which is always the newest: a decision over a thousand workers copies none of them.
 */
export class Member implements WorkerView {
  readonly workload = new Workload();
  #record: WorkerRecord;
  #storageClass: StorageClass;
  #channel: WorkerChannel;
  /** `performance.now()` of the news that it has gone. */
  #missingMs: number | undefined;
  #requests = 0;
  #pages = 0;
  /** Pages that requests gave back in this second, the one before, and so on. */
  #freed: number[] = [0];
  #freedPages = 0;

  constructor(
    record: WorkerRecord,
    private readonly connect: Ports['connect'],
    private readonly events: ChannelEvents,
  ) {
    this.#record = record;
    this.#storageClass = storageClass(record);
    this.#channel = new WorkerChannel(record.address, connect, events);
  }

  get channel(): WorkerChannel {
    return this.#channel;
  }

  get isListed(): boolean {
    return this.#missingMs === undefined;
  }

  /** Whether it is missing for longer than a registration takes. */
  hasGone(nowMs: number): boolean {
    return this.#missingMs !== undefined && nowMs - this.#missingMs > LIST_STANDS_MS;
  }

  get record(): WorkerRecord {
    return this.#record;
  }

  get storageClass(): StorageClass {
    return this.#storageClass;
  }

  get reach(): Reach {
    return this.#channel.reach;
  }

  get ownRequests(): number {
    return this.#requests;
  }

  get ownPages(): number {
    return this.#pages;
  }

  get freedPages(): number {
    return this.#freedPages;
  }

  get pendingRequests(): number {
    return this.workload.pendingRequests;
  }

  get pendingTokens(): number {
    return this.workload.pendingTokens;
  }

  get msPerToken(): number | undefined {
    return this.workload.msPerToken(performance.now());
  }

  /** The registry tells of it. */
  update(record: WorkerRecord): void {
    if (record.address !== this.#record.address) {
      // The same process keeps its address when it registers again; another one has another port.
      this.#channel.close(lost('The worker was replaced by a newer one.'));
      this.#channel = new WorkerChannel(record.address, this.connect, this.events);
    }
    if (record.epoch !== this.#record.epoch) this.#storageClass = storageClass(record);
    this.#record = record;
    this.#missingMs = undefined;
  }

  /** A second has passed. */
  tick(): void {
    this.#freed.unshift(0);
    this.#freedPages -= this.#freed[FREED_SECONDS] ?? 0;
    this.#freed.length = Math.min(this.#freed.length, FREED_SECONDS);
  }

  /** The registry has it no more. */
  miss(nowMs: number): void {
    this.#missingMs ??= nowMs;
  }

  /** Counts a request until the returned function is called. */
  track(pages: number): () => void {
    this.#requests += 1;
    this.#pages += pages;
    return () => {
      this.#requests -= 1;
      this.#pages -= pages;
      this.#freed[0] = (this.#freed[0] ?? 0) + pages;
      this.#freedPages += pages;
    };
  }
}
