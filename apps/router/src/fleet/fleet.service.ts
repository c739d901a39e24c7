import { type OnApplicationBootstrap, type OnApplicationShutdown, Injectable } from '@nestjs/common';
import { type StorageClass, storageClass, type WorkerView } from '@kvcapsule/domain/placement';
import type { WorkerRecord } from '@kvcapsule/domain/registry';
import { Ports } from '../ports.js';
import { lost, WorkerLink } from './worker-link.js';

const REFRESH_MS = 1_000;
/** Long enough for a worker to register again after Redis came back empty. */
const GONE_GRACE_MS = 4_000;
/** A worker with open requests that says nothing for so long hangs, whatever its heartbeat says. */
const SILENCE_MS = 60_000;

/** Pages given back show in a heartbeat, and that in a list, within three refreshes. */
const FREED_REFRESHES = 3;

interface Member {
  record: WorkerRecord;
  storageClass: StorageClass;
  /** `performance.now()` of the newest list that had it. */
  seenMs: number;
  link: WorkerLink | undefined;
  requests: number;
  pages: number;
  /** Pages that requests gave back since the last refresh, before that, and so on. */
  freed: number[];
}

/** The workers this router knows, what it has in flight on each, and its one link to each. */
@Injectable()
export class Fleet implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #members = new Map<string, Member>();
  readonly #listeners: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #newestMs = 0;
  /** False while the registry does not answer: the last snapshot serves on. */
  storeAvailable = false;

  constructor(private readonly ports: Ports) {}

  async onApplicationBootstrap(): Promise<void> {
    await this.refresh();
    this.#timer = setInterval(() => void this.refresh(), REFRESH_MS);
  }

  onApplicationShutdown(): void {
    clearInterval(this.#timer);
    for (const { link } of this.#members.values()) link?.close(lost('The router is shutting down.'));
  }

  /** Called after every refresh, and whenever else a request that waits may find room. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Pages were given back: requests that wait look again. */
  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Workers of the newest snapshot. */
  views(): WorkerView[] {
    return [...this.#members.values()]
      .filter((member) => member.seenMs === this.#newestMs)
      .map(({ record, storageClass, requests, pages, freed }) => ({
        ...{ record, storageClass, ownRequests: requests, ownPages: pages },
        freedPages: freed.reduce((sum, count) => sum + count, 0),
      }));
  }

  /** Counts a request towards its worker until the returned function is called. */
  track(workerId: string, pages: number): () => void {
    const member = this.#members.get(workerId);
    if (!member) return () => undefined;
    member.requests += 1;
    member.pages += pages;
    return () => {
      member.requests -= 1;
      member.pages -= pages;
      member.freed[0] = (member.freed[0] ?? 0) + pages;
    };
  }

  /** The open link to a worker, made when there is none. */
  link(record: WorkerRecord): WorkerLink {
    const member = this.#members.get(record.workerId);
    if (!member) throw lost('The worker has gone.');
    if (!member.link || member.link.isLost) {
      member.link = new WorkerLink(record.address, this.ports.connect(record.address));
    }
    return member.link;
  }

  async refresh(): Promise<void> {
    try {
      this.#merge(await this.ports.registry.list());
      this.storeAvailable = true;
    } catch {
      // Not fatal: the snapshot stays, readiness says degraded, and reserving says why it cannot.
      this.storeAvailable = false;
    }
    this.#hangUpOnSilent();
    this.changed();
  }

  #merge(records: readonly WorkerRecord[]): void {
    const nowMs = performance.now();
    this.#newestMs = nowMs;
    for (const record of records) {
      const member = this.#members.get(record.workerId);
      if (member) this.#update(member, record, nowMs);
      else this.#members.set(record.workerId, newMember(record, nowMs));
    }
    for (const [id, member] of this.#members) {
      if (nowMs - member.seenMs <= GONE_GRACE_MS) continue;
      // Its heartbeats are late or do not reach Redis, but it answers: new requests go elsewhere, these go on.
      if (member.link?.speaksWithin(GONE_GRACE_MS)) continue;
      member.link?.close(lost('The worker stopped sending heartbeats.'));
      this.#members.delete(id);
    }
  }

  #update(member: Member, record: WorkerRecord, nowMs: number): void {
    // The same process keeps its address when it registers again; another one has another port.
    if (record.address !== member.record.address) {
      member.link?.close(lost('The worker was replaced by a newer one.'));
      member.link = undefined;
    }
    if (record.epoch !== member.record.epoch) member.storageClass = storageClass(record);
    member.record = record;
    member.freed = [0, ...member.freed.slice(0, FREED_REFRESHES - 1)];
    member.seenMs = nowMs;
  }

  #hangUpOnSilent(): void {
    for (const { link } of this.#members.values()) {
      if (link && link.silentMs > SILENCE_MS) link.close(lost('The worker said nothing for too long.'));
    }
  }
}

function newMember(record: WorkerRecord, seenMs: number): Member {
  return {
    ...{ record, storageClass: storageClass(record), seenMs },
    ...{ link: undefined, requests: 0, pages: 0, freed: [] },
  };
}
