import type { EvictionPolicy } from '../policy.js';
import type { Owned } from './owned.js';
import { Tenants } from './tenants.js';

export interface CoordinatedOptions {
  readonly capacityPages: number;
  /** Of the pool: what all tenants together are sure of, in equal parts; 0 to 1. */
  readonly guaranteed: number;
}

/** Of the next that its policy names, those among which copies elsewhere and shares decide. */
const WINDOW = 8;
/** Digits of a name by which others know of it. */
const KNOWN_DIGITS = 32;

/**
 * A policy's order, but what other workers hold too goes before last copies, and what is a tenant's that has more than
 * its share before others' content; see README.md. Without advice, and with one tenant, it is the policy's own.
 */
export class Coordinated<T extends Owned> implements EvictionPolicy<T> {
  readonly #tenants: Tenants<T>;
  #copied: ReadonlySet<string> = new Set();

  constructor(
    private readonly policy: EvictionPolicy<T>,
    { capacityPages, guaranteed }: CoordinatedOptions,
  ) {
    this.#tenants = new Tenants(capacityPages, guaranteed, (content) => {
      policy.offer(content);
    });
  }

  /** Names, by their first 128 bits in hex, that other workers hold too; those of the last call no more. */
  advise(copied: Iterable<string>): void {
    this.#copied = new Set(copied);
  }

  /** What would go next, at most so many, in the policy's order. */
  next(count: number): T[] {
    const next: T[] = [];
    for (let content = this.#unprotected(); content; content = this.#unprotected()) {
      this.policy.withdraw(content);
      next.push(content);
      if (next.length >= count) break;
    }
    for (const content of next) this.policy.offer(content);
    return next;
  }

  insert(content: T): void {
    this.policy.insert(content);
    this.#tenants.add(content);
  }

  use(content: T): void {
    this.policy.use(content);
  }

  leave(content: T): void {
    this.policy.leave(content);
  }

  offer(content: T): void {
    this.policy.offer(content);
  }

  withdraw(content: T): void {
    this.#tenants.unpark(content);
    this.policy.withdraw(content);
  }

  victim(): T | undefined {
    const first = this.#unprotected();
    if (!first) return this.#tenants.leastProtected();
    if (this.#tenants.count < 2 && this.#copied.size === 0) return first;
    const window = this.next(WINDOW);
    const ranks = window.map((content) => this.#rank(content));
    return window[ranks.indexOf(Math.min(...ranks))];
  }

  evict(content: T): void {
    this.#tenants.remove(content);
    this.policy.evict(content);
  }

  #rank(content: T): number {
    const isLast = !this.#copied.has(content.name.slice(0, KNOWN_DIGITS));
    return 2 * Number(isLast) + Number(!this.#tenants.isAboveShare(content.tenant));
  }

  /** The policy's next that is not protected; what is stands aside from here on, in the policy's order. */
  #unprotected(): T | undefined {
    for (let content = this.policy.victim(); content; content = this.policy.victim()) {
      if (!this.#tenants.isProtected(content.tenant)) return content;
      this.policy.withdraw(content);
      this.#tenants.park(content);
    }
    return undefined;
  }
}
