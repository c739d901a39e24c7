import {
  HEARTBEAT_TTL_MS,
  type PoolFigures,
  type RegistryNews,
  type WorkerDescriptor,
  type WorkerLoad,
  type WorkerRecord,
} from './registry.port.js';

/** What one worker says of itself. */
export interface Announcement {
  readonly workerId: string;
  readonly epoch: number;
  readonly load: WorkerLoad;
}

interface Known {
  readonly epoch: number;
  /** Undefined for one that cannot be understood: a worker of another version. */
  readonly descriptor: WorkerDescriptor | undefined;
  load: WorkerLoad | undefined;
  heardMs: number;
}

/**
 * The workers as one router has heard of them, and what is new since that was last taken. Times are the router's own
 * monotonic clock's, so that a step of the store's clock makes nobody silent.
 */
export class Roster {
  readonly #known = new Map<string, Known>();
  #told = new Map<string, WorkerRecord>();
  #gone = new Set<string>();
  #freed = false;

  /**
   * Takes an announcement that was made at `heardMs`. False where it is of an epoch whose descriptor is not known;
   * one of an older epoch is passed over.
   */
  hear({ workerId, epoch, load }: Announcement, heardMs: number): boolean {
    const known = this.#known.get(workerId);
    if (!known || known.epoch < epoch) return false;
    if (known.epoch > epoch) return true;
    known.heardMs = Math.max(known.heardMs, heardMs);
    this.#say(workerId, known, load);
    return true;
  }

  /** Takes a worker in, or its new epoch; `descriptor` is undefined where it could not be understood. */
  meet(
    { workerId, epoch, load }: Announcement,
    descriptor: WorkerDescriptor | undefined,
    heardMs: number,
  ): void {
    if ((this.#known.get(workerId)?.epoch ?? 0) > epoch) return;
    const known = { epoch, descriptor, load: undefined, heardMs };
    this.#known.set(workerId, known);
    if (descriptor) this.#say(workerId, known, load);
    else this.#lose(workerId);
  }

  /** Pages were given back somewhere. */
  free(): void {
    this.#freed = true;
  }

  /** It has left; an older epoch's leave is of no consequence. */
  leave(workerId: string, epoch: number): void {
    if ((this.#known.get(workerId)?.epoch ?? Infinity) <= epoch) this.#forget(workerId);
  }

  /** Everybody else has gone. */
  keep(workerIds: ReadonlySet<string>): void {
    for (const workerId of this.#known.keys()) if (!workerIds.has(workerId)) this.#forget(workerId);
  }

  /** Who has said nothing for `HEARTBEAT_TTL_MS` has gone. */
  expire(nowMs: number): void {
    for (const [workerId, { heardMs }] of this.#known)
      if (nowMs - heardMs >= HEARTBEAT_TTL_MS) this.#forget(workerId);
  }

  /** Nobody could be heard until this moment: silence counts from here. */
  excuse(nowMs: number): void {
    for (const known of this.#known.values()) known.heardMs = nowMs;
  }

  /** How long before `nowMs` a worker's last word was said; undefined for one that is not there. */
  silentMs(workerId: string, nowMs: number): number | undefined {
    const known = this.#known.get(workerId);
    return known && Math.max(0, nowMs - known.heardMs);
  }

  /** What is new since it was last asked for. */
  takeNews(): RegistryNews {
    const news = { told: [...this.#told.values()], gone: [...this.#gone], freed: this.#freed };
    if (this.#told.size > 0) this.#told = new Map();
    if (this.#gone.size > 0) this.#gone = new Set();
    this.#freed = false;
    return news;
  }

  #say(workerId: string, known: Known, load: WorkerLoad): void {
    if (!known.descriptor || isSame(known.load, load)) return;
    known.load = load;
    this.#gone.delete(workerId);
    this.#told.set(workerId, { ...known.descriptor, epoch: known.epoch, load });
  }

  #forget(workerId: string): void {
    this.#known.delete(workerId);
    this.#lose(workerId);
  }

  #lose(workerId: string): void {
    this.#told.delete(workerId);
    this.#gone.add(workerId);
  }
}

function isSame(a: WorkerLoad | undefined, b: WorkerLoad): boolean {
  return (
    a !== undefined &&
    a.state === b.state &&
    a.running === b.running &&
    a.waiting === b.waiting &&
    a.freePages === b.freePages &&
    isSamePool(a.pool, b.pool)
  );
}

function isSamePool(a: PoolFigures | undefined, b: PoolFigures | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    a.rawPages === b.rawPages &&
    a.capsulePages === b.capsulePages &&
    a.cachedPages === b.cachedPages &&
    a.swappedPages === b.swappedPages &&
    a.rawBytes === b.rawBytes &&
    a.drawnTokens === b.drawnTokens
  );
}
