import type { KnownRequest, KnownTrace, Piece } from './trace.js';

/** Ages of a conversation, one second apart; who has been silent for longer does not come back. */
const AGES = 3_600;
/** Moments between two requests at which it is asked whether shared content is worth its pages, and their end. */
const MOMENTS = [1 / 6, 3 / 6, 5 / 6, 1];
/** Prices that are tried: powers of it, so many below the dearest content. */
const [STEP, PRICES] = [1.08, 180];

const powerOf = (price: number) => Math.log(price) / Math.log(STEP);

/**
 * What no policy can be expected to save that knows the process a trace was drawn from, every chance and rate of it and
 * who belongs to which conversation, but not what will be drawn. The optimum knows that too, so this is less: the
 * difference is luck that nobody can foresee.
 *
 * As in `optimum` a pool's pages have a price p, by the second here, and content is worth what it saves. For any p, what
 * a policy saves is at most p · (pages that the requests leave free, by the second) + Σ over content of what it earns
 * beyond its price, if each is kept at its own best (weak duality, which holds for expectations, too; the price begins
 * when the pool is full). What is best:
 *
 * - content of one conversation is left at an age that its past can tell: the one beyond which the chance that it goes on
 *   earns less than the pages cost (optimal stopping);
 * - shared content is there whenever its rate of uses × worth is more than p × pages, also if it was not before, which no
 *   policy can do.
 *
 * The least over the prices bounds the mean over traces; of one trace it is an estimate, with the luck that policies
 * have on it.
 *
 * @param worth of a piece that is found
 */
export function reachable(trace: KnownTrace, pages: number, worth: (piece: Piece) => number): number {
  const ages = Float64Array.from({ length: AGES + 1 }, (_, age) => trace.within(age));
  const { silences, shared, room, sure, dearest } = new Walk(trace, ages, { pages, worth }).run();
  let least = Infinity;
  for (let power = Math.ceil(powerOf(dearest)), tried = 0; tried < PRICES; power -= 1, tried += 1) {
    const price = STEP ** power;
    const stops = new Stops(ages, price);
    let sum = sure + price * room + shared.earned(power);
    for (const silence of silences) sum += earned(silence, stops, price);
    least = Math.min(least, sum);
  }
  return least;
}

/** Content of one conversation alone, from one of its requests to the next. */
interface Silence {
  readonly goesOn: number;
  readonly pages: number;
  readonly worth: number;
  /** Age from which on its pages have a price. */
  readonly from: number;
  /** Age at which it was used again, or at which the trace ended. */
  readonly to: number;
  readonly found: boolean;
}

function earned({ goesOn, pages, worth, from, to, found }: Silence, stops: Stops, price: number): number {
  const stop = stops.after(from, goesOn, worth / pages);
  return (found && to <= stop ? worth : 0) - price * pages * Math.max(0, Math.min(stop, to) - from);
}

/** At which age content of a conversation is left best, for a price of a page and second. */
class Stops {
  readonly #known = new Map<string, Int32Array>();

  constructor(
    private readonly ages: Float64Array,
    private readonly price: number,
  ) {}

  /** @param density its worth by the page */
  after(from: number, goesOn: number, density: number): number {
    const key = `${goesOn} ${density}`;
    let stops = this.#known.get(key);
    if (!stops) this.#known.set(key, (stops = this.#best(goesOn, density)));
    return Math.max(from, stops[Math.min(AGES, Math.ceil(from))] ?? 0);
  }

  /** For each age the later one at which most has been earned for what was paid, or itself. */
  #best(goesOn: number, density: number): Int32Array {
    const earned = new Float64Array(AGES + 1);
    for (let age = 1; age <= AGES; age += 1) {
      const [before = 0, within = 0] = this.ages.subarray(age - 1, age + 1);
      const silent = 1 - (goesOn * (before + within)) / 2;
      earned[age] = (earned[age - 1] ?? 0) + goesOn * (within - before) * density - silent * this.price;
    }
    const best = new Int32Array(AGES + 1);
    let most = AGES;
    for (let age = AGES; age >= 0; age -= 1) {
      if ((earned[age] ?? 0) >= (earned[most] ?? 0)) most = age;
      best[age] = most;
    }
    return best;
  }
}

/** What shared content earns and costs while its rate of worth by the page is above a price. */
class SharedEarnings {
  /** By the highest power of the step that is below the rate of worth. */
  readonly #worth = new Map<number, number>();
  readonly #pageSeconds = new Map<number, number>();

  held(rate: number, pageSeconds: number): void {
    add(this.#pageSeconds, rate, pageSeconds);
  }

  found(rate: number, worth: number): void {
    add(this.#worth, rate, worth);
  }

  earned(power: number): number {
    return above(this.#worth, power) - STEP ** power * above(this.#pageSeconds, power);
  }
}

function add(sums: Map<number, number>, rate: number, amount: number): void {
  const power = Math.ceil(powerOf(rate)) - 1;
  sums.set(power, (sums.get(power) ?? 0) + amount);
}

function above(sums: ReadonlyMap<number, number>, power: number): number {
  let sum = 0;
  for (const [at, amount] of sums) if (at >= power) sum += amount;
  return sum;
}

/** How a conversation stands after its last request so far. */
interface Standing {
  readonly request: KnownRequest;
  readonly index: number;
}

/** What many conversations use, as far as it was used. */
interface Shared {
  readonly pieces: Set<Piece>;
  /** Who may go on with it. */
  readonly users: Set<string>;
}

/** Goes through a trace once and says what lies between the uses of its content. */
class Walk {
  readonly silences: Silence[] = [];
  readonly shared = new SharedEarnings();
  /** Pages by the second that requests leave free, from when the pool is full on. */
  room = 0;
  /** Worth of what is found for nothing: the pool is not full, or no request lies between. */
  sure = 0;
  /** By the page. */
  dearest = 0;
  readonly #standing = new Map<string, Standing>();
  readonly #shared = new Map<string, Shared>();
  readonly #seen = new Set<Piece>();
  #usedPages = 0;
  #fullAt = Infinity;

  constructor(
    private readonly trace: KnownTrace,
    private readonly ages: Float64Array,
    private readonly pool: { readonly pages: number; readonly worth: (piece: Piece) => number },
  ) {}

  run(): this {
    const { requests } = this.trace;
    for (const [index, request] of requests.entries()) {
      const standing = this.#standing.get(request.conversation);
      if (standing) this.#silence(standing, request.at, true);
      this.#use(request, index);
      const next = requests[index + 1];
      if (next) this.#between(request, next);
    }
    const end = requests.at(-1)?.at ?? 0;
    for (const standing of this.#standing.values()) this.#silence(standing, end, false);
    return this;
  }

  #use(request: KnownRequest, index: number): void {
    const { pages, worth } = this.pool;
    for (const piece of request.pieces) {
      if (!this.#seen.has(piece)) this.#usedPages += piece.pages;
      this.#seen.add(piece);
      this.dearest = Math.max(this.dearest, worth(piece) / piece.pages);
      const part = this.trace.sharedPart(piece);
      if (part === undefined) continue;
      const shared = this.#shared.get(part) ?? { pieces: new Set(), users: new Set() };
      this.#shared.set(part, shared);
      shared.pieces.add(piece);
      if (request.goesOn > 0) shared.users.add(request.conversation);
    }
    if (this.#usedPages > pages) this.#fullAt = Math.min(this.#fullAt, request.at);
    this.#standing.set(request.conversation, { request, index });
  }

  /** @param at when its next request came, or, where it is not found, the trace ended */
  #silence({ request, index }: Standing, at: number, found: boolean): void {
    const free = this.trace.requests[index + 1]?.at ?? at;
    const from = Math.max(free, this.#fullAt) - request.at;
    const to = at - request.at;
    const { goesOn } = request;
    for (const { pages, worth } of this.#own(request)) {
      if (found && to <= from) this.sure += worth;
      else if (to > from) this.silences.push({ goesOn, pages, worth, from, to, found });
    }
  }

  /** What no other conversation uses; content of the same worth by the page is one. */
  #own({ pieces }: KnownRequest): Iterable<{ readonly pages: number; readonly worth: number }> {
    const sums = new Map<number, { pages: number; worth: number }>();
    for (const piece of pieces) {
      if (this.trace.sharedPart(piece) !== undefined) continue;
      const own = this.pool.worth(piece);
      const { pages, worth } = sums.get(own / piece.pages) ?? { pages: 0, worth: 0 };
      sums.set(own / piece.pages, { pages: pages + piece.pages, worth: worth + own });
    }
    return sums.values();
  }

  #between(request: KnownRequest, next: KnownRequest): void {
    const own = new Set(request.pieces);
    const prompt = new Set(next.pieces.slice(0, next.promptPieces));
    const seconds = next.at - request.at;
    const isFull = request.at >= this.#fullAt;
    const { pages, worth } = this.pool;
    if (isFull) this.room += seconds * (pages - [...own].reduce((sum, piece) => sum + piece.pages, 0));
    for (const [part, { pieces, users }] of this.#shared) {
      const begun = this.trace.rate(part, request.at);
      const moments = isFull ? MOMENTS.map((share) => request.at + share * seconds) : [];
      const rates = moments.map((at) => begun + this.#goingOn(users, at));
      for (const piece of pieces) {
        const found = prompt.has(piece) ? worth(piece) : 0;
        if (own.has(piece) || !isFull) {
          this.sure += found;
          continue;
        }
        const density = worth(piece) / piece.pages;
        for (const rate of rates.slice(0, -1))
          this.shared.held(rate * density, (piece.pages * seconds) / (rates.length - 1));
        this.shared.found((rates.at(-1) ?? 0) * density, found);
      }
    }
  }

  /** Uses by these conversations that are to be expected, by the second. */
  #goingOn(users: Set<string>, at: number): number {
    let rate = 0;
    for (const conversation of users) {
      const request = this.#standing.get(conversation)?.request;
      const age = Math.floor(at - (request?.at ?? 0));
      if (!request || age >= AGES || request.goesOn === 0) users.delete(conversation);
      else rate += this.#hazard(request.goesOn, age);
    }
    return rate;
  }

  /** Chance that a conversation which was silent for so long goes on within a second. */
  #hazard(goesOn: number, age: number): number {
    const [before = 0, after = 0] = this.ages.subarray(age, age + 2);
    return (goesOn * (after - before)) / (1 - goesOn * before);
  }
}
