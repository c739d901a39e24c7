/** Ages are told apart by half octaves, up to 2^25 pages of traffic. */
const BUCKETS = 50;
const startOf = (bucket: number) => 2 ** (bucket / 2) - 1;
const bucketOf = (age: number) => Math.min(BUCKETS - 1, Math.floor(2 * Math.log2(1 + Math.max(0, age))));

/** Events after which all counts are halved, so that old traffic is forgotten. */
const HALVED_AFTER = 20_000;

/** At which ages content of one class was found again, and how much of it never was. */
export class Reuse {
  readonly #hits = new Float64Array(BUCKETS);
  #misses = 0;
  #events = 0;

  /**
   * What to expect before anything is known: half is found again, and as much in each half octave of ages, so that
   * what was left long ago has the least chance.
   */
  static unknown(): Reuse {
    const reuse = new Reuse();
    reuse.#hits.fill(1);
    reuse.#misses = BUCKETS;
    return reuse;
  }

  /** It was found again; `missed` when it had been counted as gone. */
  hit(age: number, missed: boolean): void {
    const bucket = bucketOf(age);
    this.#hits[bucket] = (this.#hits[bucket] ?? 0) + 1;
    if (missed) this.#misses = Math.max(0, this.#misses - 1);
    this.#count();
  }

  /** It went before it was found again. */
  miss(): void {
    this.#misses += 1;
    this.#count();
  }

  #count(): void {
    this.#events += 1;
    if (this.#events < HALVED_AFTER) return;
    this.#events /= 2;
    this.#misses /= 2;
    for (const [bucket, hits] of this.#hits.entries()) this.#hits[bucket] = hits / 2;
  }

  get total(): number {
    return this.#hits.reduce((sum, hits) => sum + hits, this.#misses);
  }

  /** Another one: the same with `weight` events as `prior` has them. */
  with(prior: Reuse, weight: number): Reuse {
    const scale = weight / Math.max(1, prior.total);
    const sum = new Reuse();
    for (const [bucket, hits] of prior.#hits.entries())
      sum.#hits[bucket] = (this.#hits[bucket] ?? 0) + scale * hits;
    sum.#misses = this.#misses + scale * prior.#misses;
    return sum;
  }

  get density(): HitDensityByAge {
    return new HitDensityByAge(this.#hits, this.#misses + 1e-6);
  }
}

/**
 * Hits to be expected of content of an age, for each page of traffic that it is kept: of all times to wait from then
 * on the best one's hits over the time waited (Gittins' index).
 */
export class HitDensityByAge {
  readonly #densities: readonly number[];

  constructor(hits: Float64Array, misses: number) {
    this.#densities = Array.from({ length: BUCKETS }, (_, from) => bestDensity(hits, misses, from));
  }

  at(age: number): number {
    return this.#densities[bucketOf(age)] ?? 0;
  }
}

function bestDensity(hits: Float64Array, misses: number, from: number): number {
  let alive = misses;
  for (let bucket = from; bucket < BUCKETS; bucket += 1) alive += hits[bucket] ?? 0;
  const begin = startOf(from);
  let [found, waited, best] = [0, 0, 0];
  for (let bucket = from; bucket < BUCKETS; bucket += 1) {
    const now = hits[bucket] ?? 0;
    const end = startOf(bucket + 1);
    found += now;
    waited += now * ((startOf(bucket) + end) / 2 - begin);
    best = Math.max(best, found / (waited + (alive - found) * (end - begin)));
  }
  return best;
}
