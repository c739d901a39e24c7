import type { Evictable, EvictionPolicy } from '../policy.js';
import { Ranking } from '../ranking.js';
import type { RebuildCost } from '../rebuild-costs.js';
import { type HitDensityByAge, Reuse } from './reuse.js';

/** What is remembered of content, also for a time after it has gone. */
interface Life {
  readonly pages: number;
  uses: number;
  /** Uses of what its request found before it. */
  readonly parentUses: number;
  /** In use by the request that computed it. */
  isNew: boolean;
  /** When it was last left, in pages of traffic. */
  left: number;
  kind: string;
  gone: boolean;
}

/** Content whose chances are alike, the longest left first. */
interface Queue<T extends Evictable> {
  readonly key: string;
  readonly kind: string;
  readonly ranking: Ranking<T>;
}

/** Names of gone content are kept until so many times the cached pages have gone. */
const GHOST_SHARE = 3;
/** Events of a wider kind that a kind's own are mixed with. */
const PRIOR_EVENTS = 32;
/** Events between two looks at the counts, once there are many. */
const REFRESHED_AFTER = 512;

/** The fewest seconds to be saved for a page and its time first; see README.md. */
export class HitDensity<T extends Evictable> implements EvictionPolicy<T> {
  readonly #lives = new Map<string, Life>();
  /** Gone, the oldest first. */
  readonly #ghosts = new Map<string, Life>();
  readonly #queues = new Map<string, Queue<T>>();
  readonly #places = new Map<T, Queue<T>>();
  /** Of each kind, and of the wider ones that it is part of. */
  readonly #reuse = new Map<string, readonly Reuse[]>();
  readonly #densities = new Map<string, HitDensityByAge>();
  #events = 0;
  /** Of those, since the counts were last looked at. */
  #unseen = 0;
  #time = 0;
  #pages = 0;
  #ghostPages = 0;

  constructor(private readonly costOf: RebuildCost) {}

  insert(content: T): void {
    const ghost = this.#ghosts.get(content.name);
    if (ghost) this.#found(ghost);
    this.#forget(content.name);
    this.#time += content.pages;
    this.#pages += content.pages;
    const parentUses = ghost?.parentUses ?? usesBefore(this.#lives.get(content.parent));
    const uses = (ghost?.uses ?? 0) + 1;
    const { name, pages } = content;
    const life = { pages, uses, parentUses, isNew: true, left: this.#time, kind: '', gone: false };
    this.#lives.set(name, life);
  }

  use(content: T): void {
    const life = this.#lives.get(content.name);
    if (!life) return;
    this.#found(life);
    this.#time += content.pages;
    life.uses += 1;
  }

  leave(content: T): void {
    const life = this.#lives.get(content.name);
    if (!life) return;
    life.isNew = false;
    life.left = this.#time;
    life.kind = kindOf(content, life);
    const value = Math.round(2 * Math.log2(1e-9 + this.#valueOf(content)));
    this.#depart(content);
    const queue = this.#queue(life.kind, value);
    this.#places.set(content, queue);
    queue.ranking.set(content, this.#time);
  }

  offer(content: T): void {
    this.#places.get(content)?.ranking.offer(content);
  }

  withdraw(content: T): void {
    this.#places.get(content)?.ranking.withdraw(content);
  }

  victim(): T | undefined {
    let least: { content: T; rank: number } | undefined;
    for (const { kind, ranking } of this.#queues.values()) {
      const content = ranking.first;
      if (!content) continue;
      const rank = this.#densityOf(kind).at(this.#time - ranking.rank(content)) * this.#valueOf(content);
      if (!least || rank < least.rank || (rank === least.rank && content.serial > least.content.serial))
        least = { content, rank };
    }
    return least?.content;
  }

  evict(content: T): void {
    this.#depart(content);
    this.#pages -= content.pages;
    const life = this.#lives.get(content.name);
    this.#lives.delete(content.name);
    if (!life) return;
    this.#event(life.kind, (reuse) => {
      reuse.miss();
    });
    life.gone = true;
    this.#ghosts.set(content.name, life);
    this.#ghostPages += life.pages;
    this.#forgetOldest();
  }

  #valueOf(content: T): number {
    return this.costOf(content) / content.pages;
  }

  #depart(content: T): void {
    const queue = this.#places.get(content);
    if (!queue) return;
    queue.ranking.delete(content);
    this.#places.delete(content);
    if (queue.ranking.size === 0) this.#queues.delete(queue.key);
  }

  #found({ kind, left, gone }: Life): void {
    const age = this.#time - left;
    this.#event(kind, (reuse) => {
      reuse.hit(age, gone);
    });
  }

  #forgetOldest(): void {
    for (const [name] of this.#ghosts) {
      if (this.#ghostPages <= GHOST_SHARE * this.#pages) return;
      this.#forget(name);
    }
  }

  #forget(name: string): void {
    const ghost = this.#ghosts.get(name);
    if (!ghost) return;
    this.#ghosts.delete(name);
    this.#ghostPages -= ghost.pages;
  }

  #event(kind: string, count: (reuse: Reuse) => void): void {
    for (const level of this.#levels(kind)) count(level);
    this.#events += 1;
    this.#unseen += 1;
    if (this.#unseen < Math.min(REFRESHED_AFTER, this.#events / 8)) return;
    this.#unseen = 0;
    this.#densities.clear();
  }

  #densityOf(kind: string): HitDensityByAge {
    let density = this.#densities.get(kind);
    if (!density) {
      const levels = this.#levels(kind);
      density = levels.reduce((wider, level) => level.with(wider, PRIOR_EVENTS)).density;
      this.#densities.set(kind, density);
    }
    return density;
  }

  /** From all content to the kind itself, each a part of the one before: all, `text`, `text 1`, `text 1 3`. */
  #levels(kind: string): readonly Reuse[] {
    let levels = this.#reuse.get(kind);
    if (levels) return levels;
    const wider = kind.slice(0, Math.max(0, kind.lastIndexOf(' ')));
    levels = [...(kind === '' ? [] : this.#levels(wider)), kind === '' ? Reuse.unknown() : new Reuse()];
    this.#reuse.set(kind, levels);
    return levels;
  }

  #queue(kind: string, value: number): Queue<T> {
    const key = `${kind} ${value}`;
    let queue = this.#queues.get(key);
    if (!queue) this.#queues.set(key, (queue = { key, kind, ranking: new Ranking<T>() }));
    return queue;
  }
}

/** What came with it for the first time was not found: what lies before that tells whose request it is. */
function usesBefore(parent: Life | undefined): number {
  if (!parent) return 0;
  return parent.isNew && parent.uses === 1 ? parent.parentUses : parent.uses;
}

/** 0, 1, 2, 3–4, 5–8 and so on to more than 32. */
const often = (uses: number) => (uses === 0 ? 0 : Math.min(7, 1 + Math.ceil(Math.log2(uses))));

function kindOf({ pictureTokens }: Evictable, { uses, parentUses }: Life): string {
  return `${pictureTokens > 0 ? 'picture' : 'text'} ${often(uses)} ${often(parentUses)}`;
}
