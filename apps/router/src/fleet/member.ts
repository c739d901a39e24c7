import {
  type Reach,
  type StorageClass,
  storageClass,
  type WorkerView,
  Workload,
} from '@kvcapsule/domain/placement';
import { HEARTBEAT_TTL_MS, type WorkerRecord } from '@kvcapsule/domain/registry';
import { CircuitBreaker } from '@kvcapsule/domain/retries';
import { type ChannelEvents, WorkerChannel } from './worker-channel.js';
import { Throughput } from './throughput.js';
import { lost } from './worker-link.js';
import type { Ports } from '../ports.js';

/** Pages given back show in what the worker says within three seconds: a heartbeat is two after the last. */
const FREED_SECONDS = 3;
/** As long as a worker takes to find out that Redis has forgotten it and to register again, and then some. */
export const LIST_STANDS_MS = HEARTBEAT_TTL_MS;

export interface MemberEvents extends ChannelEvents {
  /** Its breaker has opened or closed. */
  readonly turned: (isOpen: boolean) => void;
}

/** A request of this router that a worker has, or is about to. */
export interface Tracked {
  /** The ledger has set them aside. */
  holds(pages: number): void;
  /** @param areFree whether its pages are free by then */
  left(areFree: boolean): void;
}

/**
 * One worker as this router knows it: its record, what is in flight there, and the channel to it. It is its own view,
 * which is always the newest: a decision over a thousand workers copies none of them.
 */
export class Member implements WorkerView {
  readonly workload = new Workload();
  readonly #drawing = new Throughput();
  #record: WorkerRecord;
  #storageClass: StorageClass;
  #breaker: CircuitBreaker;
  #channel: WorkerChannel;
  /** `performance.now()` of the news that it has gone. */
  #missingMs: number | undefined;
  /** Its store has lost it, rather than it the store. */
  #isForgiven = false;
  /** `performance.now()` of what its record says; undefined once that is too old to be believed. */
  #heardMs: number | undefined = performance.now();
  #requests = 0;
  #pages = 0;
  /** Pages that were not free by the last heartbeat, and not its requests'. */
  #othersPages: number;
  /** Requests that it had by the last heartbeat, and not this router's. */
  #othersRequests: number;
  /** Pages that requests gave back in this second, the one before, and so on. */
  #freed: number[] = [0];
  #freedPages = 0;

  constructor(
    record: WorkerRecord,
    private readonly connect: Ports['connect'],
    private readonly events: MemberEvents,
  ) {
    this.#record = record;
    this.#othersPages = record.capacityPages - record.load.freePages;
    this.#othersRequests = record.load.running + record.load.waiting;
    this.#storageClass = storageClass(record);
    this.#channel = new WorkerChannel(record.address, connect, events);
    this.#breaker = new CircuitBreaker(events.turned);
  }

  get channel(): WorkerChannel {
    return this.#channel;
  }

  /** One that is missing because the store has come back empty is asked, and decides by itself. */
  get isListed(): boolean {
    return this.#missingMs === undefined || this.#isForgiven;
  }

  /** Whether it is missing for longer than a registration takes. */
  hasGone(nowMs: number): boolean {
    return this.#missingMs !== undefined && nowMs - this.#missingMs > LIST_STANDS_MS;
  }

  /** Of this life of it: another process has failed nobody. */
  get breaker(): CircuitBreaker {
    return this.#breaker;
  }

  /** It has been left alone for long enough: the next request shows how it does. */
  get awaitsProbe(): boolean {
    return this.#breaker.state(performance.now()) === 'half-open' && !this.isLeftAlone;
  }

  get isLeftAlone(): boolean {
    // asked of every worker in each decision, where a thousand looks at the clock take as long as all else
    return !this.#breaker.isClosed && this.#breaker.leavesAlone(performance.now());
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

  get ownPages(): number {
    return this.#pages;
  }

  get freedPages(): number {
    return this.#freedPages;
  }

  get roomPages(): number {
    return this.#record.capacityPages - this.#othersPages - this.#pages;
  }

  /** Of its answers, between the last two heartbeats with a second between them; 0 where it has told nothing lately. */
  tokensPerSecond(nowMs: number): number {
    return this.#drawing.perSecond(nowMs);
  }

  get requests(): number {
    return this.#othersRequests + this.#requests;
  }

  get pendingRequests(): number {
    return this.workload.pendingRequests;
  }

  get pendingTokens(): number {
    return this.workload.pendingTokens;
  }

  get msPerToken(): number | undefined {
    return this.workload.msPerToken;
  }

  /** The registry tells of it. */
  update(record: WorkerRecord): void {
    if (record.address !== this.#record.address) {
      // The same process keeps its address when it registers again; another one has another port.
      this.#channel.close(lost('The worker was replaced by a newer one.'));
      this.#channel = new WorkerChannel(record.address, this.connect, this.events);
    }
    if (record.epoch !== this.#record.epoch) {
      this.#storageClass = storageClass(record);
      this.#breaker = new CircuitBreaker(this.events.turned);
    }
    this.#record = record;
    this.#drawing.note(record, performance.now());
    this.#othersPages = Math.max(0, record.capacityPages - record.load.freePages - this.#pages);
    this.#othersRequests = Math.max(0, record.load.running + record.load.waiting - this.#requests);
    this.#missingMs = undefined;
    this.#heardMs = performance.now();
  }

  /** While the registry is silent: a load that is older than any heartbeat of a live worker says nothing. */
  outdate(nowMs: number): void {
    if (this.#heardMs === undefined || nowMs - this.#heardMs <= HEARTBEAT_TTL_MS) return;
    this.#heardMs = undefined;
    this.#othersPages = 0;
    this.#othersRequests = 0;
    const { load, capacityPages } = this.#record;
    this.#record = { ...this.#record, load: { ...load, running: 0, waiting: 0, freePages: capacityPages } };
  }

  /** A second has passed. */
  tick(nowMs: number): void {
    this.workload.tick(nowMs);
    this.#freed.unshift(0);
    this.#freedPages -= this.#freed[FREED_SECONDS] ?? 0;
    this.#freed.length = Math.min(this.#freed.length, FREED_SECONDS);
  }

  /** The registry has it no more. */
  miss(nowMs: number, isForgiven: boolean): void {
    this.#missingMs ??= nowMs;
    this.#isForgiven = isForgiven;
  }

  /**
   * Counts a request from when the ledger is asked for its pages: those that are asked for at one time would each find
   * the slot of the others free.
   */
  track(): Tracked {
    this.#requests += 1;
    let held = 0;
    return {
      holds: (pages) => {
        held = pages;
        this.#pages += pages;
      },
      left: (areFree) => {
        this.#requests -= 1;
        this.#pages -= held;
        if (!areFree) return;
        this.#freed[0] = (this.#freed[0] ?? 0) + held;
        this.#freedPages += held;
      },
    };
  }
}
