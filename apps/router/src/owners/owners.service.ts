import { cacheDomain } from '@kvcapsule/domain/identity';
import { keeperOf, type OwnerNumber, OwnersIndex } from '@kvcapsule/domain/owners';
import { ComingContent, type WorkerView } from '@kvcapsule/domain/placement';
import type { WorkerRecord } from '@kvcapsule/domain/registry';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Fleet } from '../fleet/fleet.service.js';
import type { GenerationRequest } from '../generation/generation.js';
import { Telemetry } from '../operations/telemetry.service.js';
import type { PreparedPrompt } from '../prepare/prompt-preparer.port.js';
import { Settings } from '../settings.js';
import { CacheWatch } from './cache-watch.js';
import { HeldPrompt } from './held-prompt.js';

/** Between two parts of a sweep: one takes less than a millisecond, all of them some seconds. */
const SWEEP_MS = 10;
/** A thousand workers ask once a second; which number is whose is looked up once for many of them. */
const NUMBERED_MS = 500;

interface Watched {
  readonly address: string;
  readonly watch: CacheWatch;
}

/** Which worker holds what, as the workers themselves tell this router. */
@Injectable()
export class Owners implements OnApplicationShutdown {
  readonly index: OwnersIndex;
  readonly coming = new ComingContent();
  readonly #watched = new Map<string, Watched>();
  #views: readonly WorkerView[] = [];
  #sweep: NodeJS.Timeout | undefined;
  /** Workers that content may be left to, by their numbers; of that time. */
  #workers: ReadonlyMap<OwnerNumber | undefined, string> = new Map();
  #numberedMs = -Infinity;

  constructor(
    private readonly fleet: Fleet,
    private readonly telemetry: Telemetry,
    settings: Settings,
  ) {
    this.index = new OwnersIndex({ maxNames: settings.indexNames });
    fleet.onChange(() => {
      this.#follow();
    });
  }

  onApplicationShutdown(): void {
    clearInterval(this.#sweep);
    for (const { watch } of this.#watched.values()) watch.stop();
    this.#watched.clear();
  }

  /** Under which number the index has a worker's content. */
  numberOf(workerId: string): OwnerNumber | undefined {
    return this.#watched.get(workerId)?.watch.owner;
  }

  /** Knows what workers hold of a request's prompt, for as long as it is to be placed. */
  promptOf(
    { principal, cacheSalt, kvCodec }: Pick<GenerationRequest, 'principal' | 'cacheSalt' | 'kvCodec'>,
    prompt: PreparedPrompt,
  ): HeldPrompt {
    const domain = cacheDomain(principal.tenant, cacheSalt);
    return new HeldPrompt(this, { prompt, kvCodec, domain });
  }

  /** Ms since the last word of the worker that has been silent longest; 0 without workers. */
  get silentMs(): number {
    return Math.max(0, ...[...this.#watched.values()].map(({ watch }) => watch.silentMs));
  }

  /** Brings the metrics up to date. */
  measure(): void {
    const { ownersNames, ownersPairs, ownersBytes, ownersSilence } = this.telemetry.metrics;
    ownersNames.set(this.index.names);
    ownersPairs.set(this.index.pairs);
    ownersBytes.set(this.index.bytes);
    ownersSilence.set(this.silentMs / 1_000);
  }

  /** The fleet has something new at each answer; its list is another one when a worker comes or goes. */
  #follow(): void {
    const views = this.fleet.views();
    if (views !== this.#views) this.#watchThese(views);
    if (this.index.needsSweep) this.#sweep ??= setInterval(() => this.#sweepOn(), SWEEP_MS);
  }

  #watchThese(views: readonly WorkerView[]): void {
    this.#views = views;
    const listed = new Map(views.map(({ record }) => [record.workerId, record]));
    for (const [workerId, { address, watch }] of this.#watched) {
      if (listed.get(workerId)?.address === address) continue;
      watch.stop();
      this.#watched.delete(workerId);
    }
    for (const [workerId, record] of listed) {
      if (this.#watched.has(workerId)) continue;
      this.#watched.set(workerId, { address: record.address, watch: this.#watch(record) });
    }
  }

  #watch(record: WorkerRecord): CacheWatch {
    return new CacheWatch({
      index: this.index,
      coming: this.coming.toldBy(record.workerId),
      open: (known) => this.fleet.watchCache(record, known),
      asked: (instance, names) => {
        const copiedNames = names.filter((name) => this.#isKeptElsewhere(record.workerId, name));
        this.fleet.adviseEviction(record, {
          instance,
          copiedNames: copiedNames.map((name) => Buffer.from(name)),
        });
      },
      gap: () => {
        this.telemetry.metrics.ownersGaps.inc();
      },
    });
  }

  /** Of the workers that hold a name one is told that its copy is the last, so that not all let go of theirs. */
  #isKeptElsewhere(workerId: string, name: Uint8Array): boolean {
    const others = this.index.ownersOf(name).flatMap((owner) => this.#workerOf(owner) ?? []);
    return keeperOf(name, [workerId, ...others]) !== workerId;
  }

  /** Undefined for one that is about to go. */
  #workerOf(owner: number): string | undefined {
    const nowMs = performance.now();
    if (nowMs - this.#numberedMs > NUMBERED_MS) {
      this.#numberedMs = nowMs;
      const ready = this.#views.filter(({ isListed, record }) => isListed && record.load.state === 'ready');
      const numbered = ready.map(({ record: { workerId } }) => [this.numberOf(workerId), workerId] as const);
      this.#workers = new Map(numbered);
    }
    return this.#workers.get(owner as OwnerNumber);
  }

  #sweepOn(): void {
    this.index.sweep();
    if (this.index.needsSweep) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }
}
