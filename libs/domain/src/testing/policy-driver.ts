import {
  EVICTION_POLICIES,
  type Evictable,
  type EvictionPolicy,
  type EvictionPolicyName,
  RebuildCosts,
} from '../eviction/index.js';

/** Content of one page and sixteen tokens of text, unless told otherwise. */
export function contentOf(serial: number, known: Partial<Evictable> = {}): Evictable {
  return {
    name: `c${serial}`,
    parent: 'root',
    pages: 1,
    textTokens: 16,
    pictureTokens: 0,
    storedPages: 0,
    serial,
    ...known,
  };
}

/** A policy, and what a cache knows of each content. */
export class PolicyDriver {
  readonly policy: EvictionPolicy<Evictable>;
  readonly costs = new RebuildCosts();
  readonly idle = new Set<Evictable>();
  readonly busy = new Set<Evictable>();

  constructor(name: EvictionPolicyName) {
    this.policy = EVICTION_POLICIES[name]<Evictable>(this.costs.of);
  }

  /** Comes, and is in use. */
  insert(content: Evictable): void {
    this.policy.insert(content);
    this.busy.add(content);
  }

  leave(content: Evictable): void {
    if (!this.busy.delete(content)) return;
    this.idle.add(content);
    this.policy.leave(content);
    this.policy.offer(content);
  }

  use(content: Evictable): void {
    this.policy.use(content);
    if (!this.idle.delete(content)) return;
    this.policy.withdraw(content);
    this.busy.add(content);
  }

  keep(...contents: readonly Evictable[]): void {
    for (const content of contents) this.insert(content);
    for (const content of contents) this.leave(content);
  }

  again(content: Evictable): void {
    this.use(content);
    this.leave(content);
  }

  evict(): Evictable | undefined {
    const victim = this.policy.victim();
    if (!victim) return undefined;
    this.policy.evict(victim);
    this.idle.delete(victim);
    return victim;
  }

  evictAll(): string[] {
    const gone: string[] = [];
    for (let victim = this.evict(); victim; victim = this.evict()) gone.push(victim.name);
    return gone;
  }
}
