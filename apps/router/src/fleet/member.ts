import { type StorageClass, storageClass, type WorkerView } from '@kvcapsule/domain/placement';
import { HEARTBEAT_TTL_MS, type WorkerRecord } from '@kvcapsule/domain/registry';
import { type ChannelEvents, WorkerChannel } from './worker-channel.js';
import { lost } from './worker-link.js';
import type { Ports } from '../ports.js';

/** Pages given back show in a heartbeat, and that in a list, within three refreshes. */
const FREED_REFRESHES = 3;
/** As long as a worker takes to find out that Redis has forgotten it and to register again, and then some. */
const LIST_STANDS_MS = HEARTBEAT_TTL_MS;

/** One worker as this router knows it: its record, what is in flight there, and the channel to it. */
export class Member {
  #record: WorkerRecord;
  #storageClass: StorageClass;
  #channel: WorkerChannel;
  /** `performance.now()` of the first list in a row that lacked it. */
  #missingMs: number | undefined;
  #requests = 0;
  #pages = 0;
  /** Pages that requests gave back since the last refresh, before that, and so on. */
  #freed: number[] = [];

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

  view(): WorkerView {
    return {
      record: this.#record,
      storageClass: this.#storageClass,
      isListed: this.isListed,
      reach: this.#channel.reach,
      ownRequests: this.#requests,
      ownPages: this.#pages,
      freedPages: this.#freed.reduce((sum, pages) => sum + pages, 0),
    };
  }

  /** The newest list has it. */
  update(record: WorkerRecord): void {
    if (record.address !== this.#record.address) {
      // The same process keeps its address when it registers again; another one has another port.
      this.#channel.close(lost('The worker was replaced by a newer one.'));
      this.#channel = new WorkerChannel(record.address, this.connect, this.events);
    }
    if (record.epoch !== this.#record.epoch) this.#storageClass = storageClass(record);
    this.#record = record;
    this.#missingMs = undefined;
    this.#freed = [0, ...this.#freed.slice(0, FREED_REFRESHES - 1)];
  }

  /** The newest list lacks it. */
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
    };
  }
}
