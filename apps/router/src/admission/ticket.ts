import type { KvcError } from '@kvcapsule/contracts/errors';
import {
  type AdmissionKey,
  type Ask,
  type OverCap,
  type TenantAccount,
  type Turn,
  workOf,
} from '@kvcapsule/domain/admission';
import type { OverPages } from './refusals.js';

/** What a request does when it is its turn. */
export interface Attempt<T> {
  /**
   * Resolves to undefined where there is no room, or where what there is has to stay free for others: it is called again
   * when the fleet has changed.
   */
  run(turn: Turn): Promise<T | undefined>;
  /** KV pages of what was won. */
  pagesOf(won: T): number;
  /** Gives back what was won for somebody who had left meanwhile. */
  giveBack(won: T): void;
}

/** Where tickets are used. */
export interface Office {
  /** Tokens that an answer has, by those that were. */
  expectedAnswer(key: AdmissionKey, maxTokens: number): number;
  /** Counts and words a refusal. */
  overCap(tenant: string, over: OverCap | OverPages): KvcError;
  enter<T>(ask: Ask, attempt: Attempt<T>, signal: AbortSignal): Promise<T>;
  settle(ask: Pick<Ask, 'modelId' | 'tenant' | 'work'>, promptTokens: number, answerTokens: number): void;
  /** Lets those try whose turn it is. */
  pump(): void;
}

/** What a prepared request needs. */
export interface Need {
  readonly promptTokens: number;
  /** The most that its answer may have. */
  readonly maxTokens: number;
  /** Memory that it takes while it waits. */
  readonly bytes: number;
  /** KV pages on the worker that takes most for it; asked where its tenant has a cap on them. */
  readonly pages: () => number;
}

/** One request on its tenant's account, from its arrival to its end. */
export class Ticket {
  readonly #arrivedMs = performance.now();
  #ask: Omit<Ask, 'deadlineMs' | 'isCharged'> | undefined;
  #promptTokens = 0;
  #chargedTokens = 0;
  #wasLetIn = false;
  #heldPages = 0;

  constructor(
    private readonly admission: Office,
    private readonly account: TenantAccount,
    private readonly key: AdmissionKey,
    private readonly priority: number,
  ) {}

  /** Throws `RATE_LIMIT_EXCEEDED` above the cap on tokens, `KV_CAPACITY_EXCEEDED` above the whole cap on pages. */
  charge({ promptTokens, maxTokens, bytes, pages }: Need): void {
    const answer = this.admission.expectedAnswer(this.key, maxTokens);
    const cap = this.account.terms.caps.pages;
    const capped = cap === Infinity ? 0 : pages();
    if (capped > cap)
      throw this.admission.overCap(this.key.tenant, { cap: 'pages', pages: capped, most: cap });
    const over = this.account.charge(promptTokens + answer, performance.now());
    if (over) throw this.admission.overCap(this.key.tenant, over);
    this.#chargedTokens = promptTokens + answer;
    this.#promptTokens = promptTokens;
    const work = workOf(promptTokens, answer);
    const { priority } = this;
    this.#ask = { ...this.key, work, priority, bytes, pages: capped, arrivedMs: this.#arrivedMs };
  }

  /** As `Admission.enter`; a second time for a request whose worker failed, which goes before later ones. */
  async enter<T>(attempt: Attempt<T>, deadlineMs: number, signal: AbortSignal): Promise<T> {
    if (!this.#ask) throw new Error('a ticket is charged before it enters');
    const ask = { ...this.#ask, deadlineMs, isCharged: this.#wasLetIn };
    const won = await this.admission.enter(ask, attempt, signal);
    this.#wasLetIn = true;
    this.#heldPages = ask.pages;
    return won;
  }

  /** Its pages are free. */
  vacate(): void {
    if (this.#heldPages === 0) return;
    this.account.release(this.#heldPages);
    this.#heldPages = 0;
    this.admission.pump();
  }

  /** @param answerTokens what its answer had in the end; accounts are put right by it */
  close(answerTokens: number): void {
    this.vacate();
    this.account.close(performance.now());
    if (!this.#ask) return;
    const used = this.#wasLetIn ? this.#promptTokens + answerTokens : 0;
    this.account.settle(used - this.#chargedTokens);
    if (this.#wasLetIn) this.admission.settle(this.#ask, this.#promptTokens, answerTokens);
  }
}
