import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientReadableStream } from '@grpc/grpc-js';
import { KvcError } from '@kvcapsule/contracts/errors';
import type {
  AdviseEvictionRequest,
  SetAdmissionResponse,
  DescribeFormatsResponse,
  DescribePoolResponse,
  WatchCacheResponse,
  WatchCacheRequest,
} from '@kvcapsule/contracts/worker';
import { Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { NO_WORK, processOf, type Work, type WorkerView } from '@kvcapsule/domain/placement';
import type { BreakerState, Trial } from '@kvcapsule/domain/retries';
import type { Following, FollowingFigures, RegistryNews, WorkerRecord } from '@kvcapsule/domain/registry';
import { Ports } from '../ports.js';
import { Settings } from '../settings.js';
import { LIST_STANDS_MS, Member, type Tracked } from './member.js';
import { lost, type WorkerLink } from './worker-link.js';

const TICK_MS = 1_000;
/** The longest that a start waits for a registry that answered a moment ago, and does not just now. */
const FIRST_HEARD_MS = 10_000;
/** Between two of them, as only a process sees it that was not let run. */
const LATE_TICK_MS = 3 * TICK_MS;
/** A list that is younger is not asked for again, however many requests are refused by it. */
const FRESH_MS = 100;
/**
 * What heartbeats say lets requests that wait look again, so often at most: a thousand workers say something all the
 * time.
 */
const WAKE_MS = 250;
/**
 * A worker with open requests reports every second. One that is silent for so long hangs, whatever its heartbeat
 * says; it is found within six seconds, since silence is looked for every second.
 */
const SILENCE_MS = 5_000;

/** Towards a worker that has gone. */
const UNTRACKED: Tracked = { holds: () => undefined, left: () => undefined };

/** The workers this router knows, what it has in flight on each, and its one channel to each. */
@Injectable()
export class Fleet implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #log = new Logger(Fleet.name);
  readonly #members = new Map<string, Member>();
  #views: readonly Member[] = [];
  readonly #listeners: (() => void)[] = [];
  #changes = 0;
  #timer: NodeJS.Timeout | undefined;
  #following: Promise<Following> | undefined;
  #followed: Following | undefined;
  /** Reads in a row that failed. */
  #failures = 0;
  #fault = '';
  /** When the registry last answered again after failures. */
  #returnedMs = -Infinity;
  /** When the registry was last read, or could not be. */
  #readMs = -Infinity;
  #wokenMs = -Infinity;
  /** Infinity before the first second, and after one that came late. */
  #tickedMs = Infinity;
  #openings = 0;
  /** Something was told of which requests that wait have not been told. */
  #owesWake = false;

  constructor(
    private readonly ports: Ports,
    private readonly settings: Settings,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    await this.#follow();
    await this.#untilHeard();
    this.#timer = setInterval(() => {
      this.tick();
    }, TICK_MS);
  }

  async onApplicationShutdown(): Promise<void> {
    clearInterval(this.#timer);
    for (const { channel } of this.#members.values()) channel.close(lost('The router is shutting down.'));
    await (await this.#following)?.stop();
  }

  /** What is wrong with the registry while it does not answer: the last list serves on. */
  get storeFault(): string | undefined {
    return this.#failures === 0 ? undefined : this.#fault;
  }

  /** How the registry is heard; undefined before it is followed. */
  get figures(): FollowingFigures | undefined {
    return this.#followed?.figures;
  }

  /** How often something has changed. */
  get changes(): number {
    return this.#changes;
  }

  /** Called when the registry has told something, and whenever else a request that waits may find room. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Pages were given back, or a worker is reachable again: requests that wait look again. */
  changed(): void {
    this.#changes += 1;
    for (const listener of this.#listeners) listener();
  }

  /**
   * Workers that the registry has, and those that it has lost for less than a registration takes. The list is a new
   * one when a worker comes, goes or registers again, but the loads of its entries are always the newest.
   */
  views(): readonly WorkerView[] {
    return this.#views;
  }

  /** The same as this router knows them. */
  get members(): readonly Member[] {
    return this.#views;
  }

  /** How long ago a worker's last heartbeat was written that was heard; undefined for one that the registry has not. */
  silentMs(workerId: string): number | undefined {
    return this.#followed?.silentMs(workerId);
  }

  /** What each page of a worker's pool holds. Rejects with `WORKER_LOST` where it cannot be asked. */
  describePool(workerId: string): Promise<DescribePoolResponse> {
    const member = this.#members.get(workerId);
    return member ? member.channel.describePool() : Promise.reject(lost('The worker has gone.'));
  }

  /** What its formats keep of each layer. Rejects with `WORKER_LOST` where it cannot be asked. */
  describeFormats(workerId: string): Promise<DescribeFormatsResponse> {
    const member = this.#members.get(workerId);
    return member ? member.channel.describeFormats() : Promise.reject(lost('The worker has gone.'));
  }

  /** Counts a request towards its worker until it has left. */
  track(workerId: string): Tracked {
    return this.#members.get(workerId)?.track() ?? UNTRACKED;
  }

  /** Notes what a request has a worker compute: for it alone, and until its first token with what is ahead of it. */
  send(workerId: string, tokens: number, beforeFirst: number): Work {
    return this.#members.get(workerId)?.workload.send(tokens, beforeFirst, performance.now()) ?? NO_WORK;
  }

  /**
   * A request is about to be sent to a worker; undefined where that is left alone or has gone.
   * @param ignoresBreakers nobody else is there
   */
  begin({ workerId }: WorkerRecord, ignoresBreakers: boolean): Trial | undefined {
    return this.#members.get(workerId)?.breaker.begin(performance.now(), ignoresBreakers);
  }

  /** Whether a worker's process, by its `processOf`, can be reached. */
  answers(process: string): boolean {
    return this.#views.some(({ record, reach }) => reach === 'open' && processOf(record) === process);
  }

  /** Workers by the state of their breakers. */
  breakers(): Record<BreakerState, number> {
    const nowMs = performance.now();
    const counts = { closed: 0, open: 0, 'half-open': 0 };
    for (const { breaker } of this.#views) counts[breaker.state(nowMs)] += 1;
    return counts;
  }

  /** How often a breaker has opened. */
  get openings(): number {
    return this.#openings;
  }

  /** The open link to a worker, made when there is none. Throws `WORKER_LOST` where it cannot be reached. */
  link({ workerId }: WorkerRecord): WorkerLink {
    const member = this.#members.get(workerId);
    if (!member) throw lost('The worker has gone.');
    return member.channel.link();
  }

  /** A worker's account of its caches. Throws `WORKER_LOST` where it cannot be reached. */
  watchCache({ workerId }: WorkerRecord, known: WatchCacheRequest): ClientReadableStream<WatchCacheResponse> {
    const member = this.#members.get(workerId);
    if (!member) throw lost('The worker has gone.');
    return member.channel.watchCache(known);
  }

  /** Says which of the contents that a worker is about to evict lie elsewhere, too. */
  adviseEviction({ workerId }: WorkerRecord, advice: AdviseEvictionRequest): void {
    this.#members.get(workerId)?.channel.adviseEviction(advice);
  }

  /** Has a worker take requests, or none. Rejects with `NOT_FOUND`, `WORKER_LOST`, or `DRAINING` from one that ends. */
  async setAdmission(workerId: string, open: boolean): Promise<SetAdmissionResponse> {
    const member = this.#members.get(workerId);
    if (!member) throw new KvcError('NOT_FOUND', 'There is no worker of this id.');
    return member.channel.setAdmission(open);
  }

  /** A request has found every worker full: for some seconds pages that are given back are heard of at once. */
  wanted(): void {
    void this.#follow().then((following) => {
      following.want();
    });
  }

  /** Hears what the registry holds at this moment. */
  async refresh(): Promise<void> {
    await (await this.#follow()).look();
  }

  /** The same for a request that no worker could take, unless it has just been done. */
  async lookAgain(): Promise<void> {
    if (this.#failures === 0 && performance.now() - this.#readMs >= FRESH_MS) await this.refresh();
  }

  /** What is to be done every second. */
  tick(): void {
    const nowMs = performance.now();
    if (this.#stoodStill(nowMs)) return;
    this.#hangUpOnHung();
    for (const member of this.#members.values()) member.tick(nowMs);
    if (this.#views.some(({ awaitsProbe }) => awaitsProbe)) this.changed();
    this.#dropGone(nowMs);
    if (this.#failures > 0) this.#goOnAlone(nowMs);
  }

  /**
   * Whether this router itself stood still, or had no CPU: what workers said meanwhile lies in its sockets, so it judges
   * nobody's silence before the next second. One that is always late judges every second time.
   */
  #stoodStill(nowMs: number): boolean {
    const isLate = nowMs - this.#tickedMs > LATE_TICK_MS;
    this.#tickedMs = isLate ? Infinity : nowMs;
    return isLate;
  }

  /** Nobody tells of pages that come free elsewhere: a worker is asked, which refuses where it has no room. */
  #goOnAlone(nowMs: number): void {
    for (const member of this.#members.values()) member.outdate(nowMs);
    this.changed();
  }

  /** A router that listens before it knows any worker refuses requests that there are workers for. */
  async #untilHeard(): Promise<void> {
    const giveUpAt = performance.now() + FIRST_HEARD_MS;
    while (this.#failures > 0 && performance.now() < giveUpAt) {
      await sleep(FRESH_MS);
      await this.refresh();
    }
  }

  #follow(): Promise<Following> {
    this.#following ??= this.ports.registry
      .follow({
        heard: (news) => {
          this.#heard(news);
        },
        missed: (error) => {
          this.#missed(error);
        },
      })
      .then((following) => (this.#followed = following));
    return this.#following;
  }

  #heard({ told, gone, freed }: RegistryNews): void {
    this.#readMs = performance.now();
    if (this.#failures > 0) this.#return();
    let isTurn = freed || gone.length > 0;
    for (const record of told) isTurn = this.#update(record) || isTurn;
    // a store that comes back empty has lost its workers, not the workers themselves
    const isForgiven = this.#readMs - this.#returnedMs < LIST_STANDS_MS;
    for (const workerId of gone) this.#members.get(workerId)?.miss(this.#readMs, isForgiven);
    this.#owesWake ||= told.length > 0;
    if (isTurn || (this.#owesWake && this.#readMs - this.#wokenMs >= WAKE_MS)) this.#wake();
  }

  #return(): void {
    this.#log.log(`The registry answers again after ${this.#failures} failures.`);
    this.#failures = 0;
    this.#returnedMs = this.#readMs;
  }

  #missed(error: unknown): void {
    this.#readMs = performance.now();
    // Not fatal: the list stays, readiness says degraded, and workers decide what they take on.
    this.#failures += 1;
    this.#fault = messageOf(error);
    if (this.#failures === 1) this.#log.warn(`${this.#fault}; the last list of workers stands.`);
    this.changed();
  }

  /** Whether it is another worker than before to a request that waits: new, back, or in another state. */
  #update(record: WorkerRecord): boolean {
    const member = this.#members.get(record.workerId);
    if (!member) {
      this.#members.set(record.workerId, this.#newMember(record));
      this.#views = this.#present(this.#readMs);
      return true;
    }
    const { epoch, load } = member.record;
    const isTurn = !member.isListed || epoch !== record.epoch || load.state !== record.load.state;
    member.update(record);
    if (epoch !== record.epoch) this.#views = this.#present(this.#readMs);
    return isTurn;
  }

  #wake(): void {
    this.#wokenMs = this.#readMs;
    this.#owesWake = false;
    this.changed();
  }

  #dropGone(nowMs: number): void {
    const before = this.#views;
    for (const [id, member] of this.#members) {
      // Its heartbeats are late or do not reach Redis, but it answers: new requests go elsewhere, these go on.
      if (!member.hasGone(nowMs) || member.channel.current?.speaksWithin(SILENCE_MS)) continue;
      member.channel.close(lost('The worker stopped sending heartbeats.'));
      this.#members.delete(id);
    }
    const present = this.#present(nowMs);
    if (present.length === before.length && present.every((member, at) => member === before[at])) return;
    this.#views = present;
    if (present.length < before.length) this.changed();
  }

  #present(nowMs: number): Member[] {
    return [...this.#members.values()].filter((member) => !member.hasGone(nowMs));
  }

  #newMember(record: WorkerRecord): Member {
    const { workerId } = record;
    return new Member(record, (address) => this.ports.connect(address), {
      // Of losses in a row one line: a worker that takes connections and drops them would fill the log.
      lost: ({ message }, losses) => {
        if (losses === 1) this.#log.warn(`Worker ${workerId}: ${message}`);
      },
      reachable: (looks, losses) => {
        if (losses === 1) this.#log.log(`Worker ${workerId} can be reached again (seen at look ${looks}).`);
        this.changed();
      },
      turned: (isOpen) => {
        this.#turned(workerId, isOpen);
      },
    });
  }

  #turned(workerId: string, isOpen: boolean): void {
    if (isOpen) this.#openings += 1;
    else this.changed();
    if (isOpen) this.#log.warn(`Worker ${workerId} fails again and again and is left alone for a while.`);
    else this.#log.log(`Worker ${workerId} answers again.`);
  }

  /** One that reports, but whose engine finishes no step, hangs in a step. */
  #hangUpOnHung(): void {
    const { workerStallMs } = this.settings;
    for (const { channel } of this.#members.values()) {
      const link = channel.current;
      if (!link) continue;
      if (link.silentMs > SILENCE_MS) channel.hangUp(lost('The worker said nothing for too long.'));
      else if (link.stalledMs > workerStallMs)
        channel.hangUp(lost('The worker made no progress for too long.'));
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'The registry does not answer';
}
