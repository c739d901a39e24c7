import { Injectable, Logger, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { WorkerView } from '@kvcapsule/domain/placement';
import type { WorkerRecord } from '@kvcapsule/domain/registry';
import { Ports } from '../ports.js';
import { Member } from './member.js';
import { lost, type WorkerLink } from './worker-link.js';

const REFRESH_MS = 1_000;
/** A list that is younger is not asked for again, however many requests are refused by it. */
const FRESH_MS = 100;
/**
 * A worker with open requests reports every second. One that is silent for so long hangs, whatever its heartbeat
 * says; it is found within six seconds, since silence is looked for every second.
 */
const SILENCE_MS = 5_000;
/** One that reports, but whose engine finishes no step for so long, hangs in a step. */
const STALL_MS = 300_000;

/** The workers this router knows, what it has in flight on each, and its one channel to each. */
@Injectable()
export class Fleet implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #log = new Logger(Fleet.name);
  readonly #members = new Map<string, Member>();
  #views: readonly Member[] = [];
  readonly #listeners: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #refreshing: Promise<void> | undefined;
  /** Lists in a row that did not come. */
  #failures = 0;
  #refreshedMs = -Infinity;

  constructor(private readonly ports: Ports) {}

  async onApplicationBootstrap(): Promise<void> {
    await this.refresh();
    this.#timer = setInterval(() => {
      this.#hangUpOnHung();
      void this.refresh();
    }, REFRESH_MS);
  }

  onApplicationShutdown(): void {
    clearInterval(this.#timer);
    for (const { channel } of this.#members.values()) channel.close(lost('The router is shutting down.'));
  }

  /** False while the registry does not answer: the last list serves on. */
  get storeAvailable(): boolean {
    return this.#failures === 0;
  }

  /** Called after every refresh, and whenever else a request that waits may find room. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Pages were given back, or a worker is reachable again: requests that wait look again. */
  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /**
   * Workers of the newest list, and those that have been missing from it for less than a registration takes. The list
   * is a new one after each refresh alone, but what its entries say is always the newest.
   */
  views(): readonly WorkerView[] {
    return this.#views;
  }

  /** Counts a request towards its worker until the returned function is called. */
  track(workerId: string, pages: number): () => void {
    return this.#members.get(workerId)?.track(pages) ?? (() => undefined);
  }

  /** The open link to a worker, made when there is none. Throws `WORKER_LOST` where it cannot be reached. */
  link({ workerId }: WorkerRecord): WorkerLink {
    const member = this.#members.get(workerId);
    if (!member) throw lost('The worker has gone.');
    return member.channel.link();
  }

  /** Reads the registry; one that is asked for while another is under way is that one. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** Reads the registry between two refreshes, for a request that no worker could take. */
  async lookAgain(): Promise<void> {
    if (performance.now() - this.#refreshedMs >= FRESH_MS) await this.refresh();
  }

  async #refresh(): Promise<void> {
    try {
      this.#merge(await this.ports.registry.list());
      if (this.#failures > 0) this.#log.log(`The registry answers again after ${this.#failures} failures.`);
      this.#failures = 0;
    } catch (error) {
      // Not fatal: the list stays, readiness says degraded, and reserving says why it cannot.
      this.#failures += 1;
      if (this.#failures === 1) this.#log.warn(`${messageOf(error)}; the last list of workers stands.`);
    }
    this.#refreshedMs = performance.now();
    this.#views = [...this.#members.values()].filter((member) => !member.hasGone(this.#refreshedMs));
    this.changed();
  }

  #merge(records: readonly WorkerRecord[]): void {
    const nowMs = performance.now();
    for (const member of this.#members.values()) member.miss(nowMs);
    for (const record of records) {
      const member = this.#members.get(record.workerId);
      if (member) member.update(record);
      else this.#members.set(record.workerId, this.#newMember(record));
    }
    for (const [id, member] of this.#members) {
      // Its heartbeats are late or do not reach Redis, but it answers: new requests go elsewhere, these go on.
      if (!member.hasGone(nowMs) || member.channel.current?.speaksWithin(SILENCE_MS)) continue;
      member.channel.close(lost('The worker stopped sending heartbeats.'));
      this.#members.delete(id);
    }
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
    });
  }

  #hangUpOnHung(): void {
    for (const { channel } of this.#members.values()) {
      const link = channel.current;
      if (!link) continue;
      if (link.silentMs > SILENCE_MS) channel.hangUp(lost('The worker said nothing for too long.'));
      else if (link.stalledMs > STALL_MS) channel.hangUp(lost('The worker made no progress for too long.'));
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'The registry does not answer';
}
