import type { AdmissionKey, AdmissionLimits, Ask, Entrance, Evicted, Eviction, Rejection } from './ask.js';
import { NO_HEADROOM, type Turn } from './headroom.js';
import type { Entry } from './line.js';
import { ModelQueue } from './model-queue.js';
import { whomToShed } from './shedding.js';
import { TenantAccounts } from './tenant-account.js';
import type { TenantTerms } from './tenant-terms.js';
import { workOf } from './work.js';

/** So much later arrives a request of the next lower priority, as it were: waiting makes up for it. */
const PRIORITY_MS = 1_000;
/** Priorities further from 0 count as this, so that every request is first in its line before its wait is over. */
const MOST_PRIORITY = 10;
/** Bounds of what clients are told; the lower one also where nothing is known. */
const RETRY_MS = { least: 1_000, most: 60_000 } as const;
const ENTERED: Entrance = { shed: [] };

/**
 * Requests that wait for room, as a state machine without a clock: every time is an argument, in ms of one monotonic
 * clock. `ModelQueue` says who goes first; models have nothing to do with each other but the bound on bytes.
 */
export class AdmissionQueue {
  readonly accounts: TenantAccounts;
  readonly #models = new Map<string, ModelQueue>();
  readonly #entries = new Map<number, Entry>();
  #bytes = 0;
  #wakes = 0;

  constructor(
    private readonly limits: AdmissionLimits,
    terms: ReadonlyMap<string, TenantTerms>,
  ) {
    this.accounts = new TenantAccounts(terms);
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** When the next entry is to leave; undefined while nobody waits. */
  get nextExpiryMs(): number | undefined {
    let nextMs: number | undefined;
    for (const { leaveByMs } of this.#entries.values()) nextMs = Math.min(nextMs ?? leaveByMs, leaveByMs);
    return nextMs;
  }

  /** How many requests of each tenant wait or try, over all models; tenants without any are left out. */
  waiting(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { ask } of this.#entries.values()) counts.set(ask.tenant, (counts.get(ask.tenant) ?? 0) + 1);
    return counts;
  }

  /** How long an answer of a tenant is expected to be, by those that have ended. */
  expectedAnswer({ modelId, tenant }: AdmissionKey, maxTokens: number): number {
    return this.#model(modelId).line(tenant).answers.expected(maxTokens);
  }

  /** Puts a request into its line; `id` is new. */
  enter(id: number, ask: Ask, nowMs: number): Entrance {
    // what is no number has no time left, too
    if (!(ask.deadlineMs > nowMs)) return refusal('deadline', undefined);
    const model = this.#model(ask.modelId);
    const entry = this.#entry(id, ask, nowMs);
    const waitMs = model.size === 0 ? 0 : model.waitMs(ask, entry.orderMs, nowMs);
    const allowedMs = entry.leaveByMs - nowMs;
    if (waitMs !== undefined && waitMs > allowedMs) {
      return refusal(entry.cause === 'waited' ? 'wait-too-long' : 'deadline-too-near', waitMs - allowedMs);
    }
    const shed = this.#makeRoom(model, entry, nowMs);
    if (!shed) return refusal('full', waitMs);
    model.insert(entry);
    this.#entries.set(id, entry);
    this.#bytes += ask.bytes;
    return shed.length === 0 ? ENTERED : { shed };
  }

  /** The one whose turn it is: it tries, until `blocked`, `admitted` or `leave`. Undefined while none may. */
  next(nowMs: number): number | undefined {
    for (const [modelId, model] of this.#models) {
      const entry = model.next(nowMs, this.#wakes);
      if (!entry) continue;
      // to the end, so that models take turns
      this.#models.delete(modelId);
      this.#models.set(modelId, model);
      return entry.id;
    }
    return undefined;
  }

  /** The one that tries found no room: it waits for a wake, or tries again if one came meanwhile. */
  blocked(id: number, nowMs: number): void {
    const entry = this.#entries.get(id);
    if (entry?.isTrying) this.#model(entry.ask.modelId).blocked(entry, nowMs, this.#wakes);
  }

  /** What the one that tries may take. */
  turn(id: number): Turn {
    const entry = this.#entries.get(id);
    return { headroom: entry?.headroom ?? NO_HEADROOM, isGuest: entry?.isGuest === true };
  }

  /**
   * The one that tries got in. False where it had left already. Those of its pages that count towards its tenant's cap
   * do until `release` of its account.
   *
   * @param pages that it got
   */
  admitted(id: number, pages: number, nowMs: number): boolean {
    const entry = this.#take(id);
    if (!entry) return false;
    this.#model(entry.ask.modelId).admitted(entry, pages, nowMs);
    if (!entry.ask.isCharged) entry.line.running += 1;
    return true;
  }

  /** It does not want to be admitted any longer. False where it had left already. */
  leave(id: number, nowMs: number): boolean {
    const entry = this.#take(id);
    if (!entry) return false;
    if (entry.isTrying) entry.line.charge(entry, -1);
    this.#model(entry.ask.modelId).remove(entry, nowMs);
    return true;
  }

  /** Removes everybody whose time is up. */
  expire(nowMs: number): Evicted[] {
    const evicted: Evicted[] = [];
    for (const entry of this.#entries.values())
      if (entry.leaveByMs <= nowMs) evicted.push(this.#evict(entry, entry.cause, nowMs));
    return evicted;
  }

  /** Something may have become free: every head may try again. */
  wake(): void {
    this.#wakes += 1;
  }

  /** A request that got in has ended, and what was served to it is known. */
  settle(ask: Pick<Ask, 'modelId' | 'tenant' | 'work'>, promptTokens: number, answerTokens: number): void {
    const line = this.#model(ask.modelId).line(ask.tenant);
    line.running -= 1;
    line.served += (workOf(promptTokens, answerTokens) - ask.work) / line.weight;
    line.answers.observe(answerTokens);
  }

  #model(modelId: string): ModelQueue {
    let model = this.#models.get(modelId);
    if (!model) {
      model = new ModelQueue(this.accounts);
      this.#models.set(modelId, model);
    }
    return model;
  }

  #entry(id: number, ask: Ask, nowMs: number): Entry {
    const waitedMs = nowMs + this.limits.waitMs;
    const priority = Math.min(MOST_PRIORITY, Math.max(-MOST_PRIORITY, ask.priority || 0));
    return {
      ...{ id, ask, line: this.#model(ask.modelId).line(ask.tenant) },
      orderMs: ask.arrivedMs + priority * PRIORITY_MS,
      leaveByMs: Math.min(ask.deadlineMs, waitedMs),
      cause: ask.deadlineMs < waitedMs ? 'deadline' : 'waited',
      ...{ isTrying: false, triedAt: -1, servedBefore: 0, passedWork: 0, hasHeld: false },
      headroom: NO_HEADROOM,
      isGuest: false,
    };
  }

  /** Those who left for it; undefined where it is the one to go. A request alone is taken whatever its size. */
  #makeRoom(model: ModelQueue, entry: Entry, nowMs: number): Evicted[] | undefined {
    const limits = { entries: this.limits.entriesPerModel, bytes: this.limits.bytes };
    const bytes = this.#entries.size === 0 ? 0 : this.#bytes + entry.ask.bytes - limits.bytes;
    const entries = model.size + 1 - limits.entries;
    if (entries <= 0 && bytes <= 0) return [];
    const models = entries > 0 ? [model] : [...this.#models.values()];
    const lines = models.flatMap((each) => [...each.lines]);
    const shed = whomToShed(entry, lines, limits, { entries, bytes });
    return shed?.map((each) => this.#evict(each, 'shed', nowMs));
  }

  #evict(entry: Entry, cause: Eviction, nowMs: number): Evicted {
    const retryAfterMs = retryMs(this.#model(entry.ask.modelId).drainMs(nowMs));
    this.leave(entry.id, nowMs);
    return { id: entry.id, cause, retryAfterMs };
  }

  #take(id: number): Entry | undefined {
    const entry = this.#entries.get(id);
    if (!entry) return undefined;
    this.#entries.delete(id);
    this.#bytes -= entry.ask.bytes;
    return entry;
  }
}

function retryMs(knownMs: number | undefined): number {
  return Math.ceil(Math.min(RETRY_MS.most, Math.max(RETRY_MS.least, knownMs ?? 0)));
}

function refusal(cause: Rejection, knownMs: number | undefined): Entrance {
  return { refusal: { cause, retryAfterMs: retryMs(knownMs) }, shed: [] };
}
