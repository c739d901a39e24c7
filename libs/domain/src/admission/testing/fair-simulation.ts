import { AdmissionQueue, type Ask, leavesHeadroom, PLAIN_TERMS, type TenantTerms, workOf } from '../index.js';

/** What a tenant sends. Requests come by themselves, as many a second on average. */
export interface Load {
  readonly tenant: string;
  readonly perSecond: number;
  /** Slots that it may hold; a slot is a page here. */
  readonly most?: number;
}

export interface Scenario {
  readonly loads: readonly Load[];
  /** Requests that the cluster runs at one time. */
  readonly slots: number;
  readonly seconds: number;
  readonly seed: number;
  /** One line for all, first come first served, in place of one for each tenant. */
  readonly oneLine?: boolean;
}

export interface Outcome {
  /** From arrival to the first token, in ms, of each request that got it. */
  readonly ttftMs: number[];
  refused: number;
}

interface Request {
  readonly tenant: string;
  readonly ask: Ask;
  readonly prefillMs: number;
  readonly decodeMs: number;
  readonly promptTokens: number;
  readonly answerTokens: number;
}

/** Prompt tokens a ms: what a prefill beside running answers makes. */
const PREFILL_PER_MS = 2;
const STEP_MS = 20;

/** Numbers of [0, 1) that are the same in every run (mulberry32). */
export function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * The queue before a cluster of slots, in virtual time: prompts of 200 to 1,000 tokens at 2 a ms, answers of 50 to 250 at
 * 20 ms each, whatever else runs.
 */
export function simulate(scenario: Scenario): Map<string, Outcome> {
  return new Simulation(scenario).run();
}

class Simulation {
  readonly #queue: AdmissionQueue;
  readonly #events: { readonly atMs: number; readonly act: () => void }[] = [];
  readonly #requests = new Map<number, Request>();
  readonly #outcomes = new Map<string, Outcome>();
  #free: number;
  #nowMs = 0;
  #entered = 0;

  constructor(private readonly scenario: Scenario) {
    this.#free = scenario.slots;
    const limits = { entriesPerModel: 256, bytes: Infinity, waitMs: 30_000 };
    this.#queue = new AdmissionQueue(
      limits,
      new Map(scenario.loads.map((load) => [load.tenant, termsOf(load)])),
    );
  }

  run(): Map<string, Outcome> {
    const { loads, seed } = this.scenario;
    loads.forEach((load, index) => {
      this.#outcomes.set(load.tenant, { ttftMs: [], refused: 0 });
      // each tenant has its own chances: who else is there changes nothing about what it sends
      this.#arrive(load, chance(seed + index), 0);
    });
    for (let event = this.#events.shift(); event; event = this.#events.shift()) {
      this.#nowMs = event.atMs;
      for (const { id } of this.#queue.expire(this.#nowMs)) this.#refuse(id);
      event.act();
      this.#pump();
    }
    return this.#outcomes;
  }

  #arrive(load: Load, random: () => number, afterMs: number): void {
    const atMs = afterMs - (Math.log(1 - random()) / load.perSecond) * 1_000;
    if (atMs > this.scenario.seconds * 1_000) return;
    this.#at(atMs, () => {
      this.#enter(load.tenant, random);
      this.#arrive(load, random, atMs);
    });
  }

  #enter(tenant: string, random: () => number): void {
    const promptTokens = 200 + Math.floor(800 * random());
    const answerTokens = 50 + Math.floor(200 * random());
    const line = this.scenario.oneLine ? 'all' : tenant;
    const answer = this.#queue.expectedAnswer({ modelId: 'm', tenant: line }, 1_000);
    const ask: Ask = {
      ...{ modelId: 'm', tenant: line, isCharged: false, priority: 0, bytes: 0, pages: 1 },
      ...{ arrivedMs: this.#nowMs, deadlineMs: Infinity, work: workOf(promptTokens, answer) },
    };
    const id = this.#entered++;
    const [prefillMs, decodeMs] = [promptTokens / PREFILL_PER_MS, answerTokens * STEP_MS];
    this.#requests.set(id, { tenant, ask, prefillMs, decodeMs, promptTokens, answerTokens });
    const { refusal, shed } = this.#queue.enter(id, ask, this.#nowMs);
    for (const each of shed) this.#refuse(each.id);
    if (refusal) this.#refuse(id);
  }

  #pump(): void {
    for (let id = this.#queue.next(this.#nowMs); id !== undefined; id = this.#queue.next(this.#nowMs)) {
      if (this.#hasRoom(id)) this.#start(id);
      else this.#queue.blocked(id, this.#nowMs);
    }
  }

  #hasRoom(id: number): boolean {
    if (this.#free === 0) return false;
    const pool = { record: { capacityPages: this.scenario.slots }, roomPages: this.#free };
    return leavesHeadroom([pool], pool, 1, this.#queue.turn(id).headroom);
  }

  #start(id: number): void {
    const request = this.#requests.get(id);
    if (!request) return;
    this.#requests.delete(id);
    this.#queue.admitted(id, 1, this.#nowMs);
    this.#free -= 1;
    const { tenant, ask, prefillMs, decodeMs, promptTokens, answerTokens } = request;
    this.#outcomes.get(tenant)?.ttftMs.push(this.#nowMs - ask.arrivedMs + prefillMs);
    this.#at(this.#nowMs + prefillMs + decodeMs, () => {
      this.#free += 1;
      this.#queue.accounts.of(ask.tenant).release(ask.pages);
      this.#queue.settle(ask, promptTokens, answerTokens);
      this.#queue.wake();
    });
  }

  #refuse(id: number): void {
    const request = this.#requests.get(id);
    const outcome = request && this.#outcomes.get(request.tenant);
    if (outcome) outcome.refused += 1;
    this.#requests.delete(id);
  }

  #at(atMs: number, act: () => void): void {
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#events[middle]?.atMs ?? Infinity) <= atMs) low = middle + 1;
      else high = middle;
    }
    this.#events.splice(low, 0, { atMs, act });
  }
}

function termsOf({ most = Infinity }: Load): TenantTerms {
  return { ...PLAIN_TERMS, caps: { ...PLAIN_TERMS.caps, pages: most } };
}
