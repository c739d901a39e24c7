/** Names times workers at one time: about 10 MB. What is beyond them is placed as if nobody had said it. */
const MOST_PAIRS = 65_536;
/** Of them one worker's own words: the protocol's bound. */
const MOST_TOLD = 1_024;
/** A worker tells what it holds about when it answers; so long it may take until that is known. */
const TELLING_MS = 1_000;

/** Content by the first 128 bits of its name, a byte a character. */
export type ContentKey = string & { readonly __brand: 'ContentKey' };

export function contentKey(name: Uint8Array): ContentKey {
  return String.fromCharCode(...name) as ContentKey;
}

/** What a worker says that it is about to have. */
export interface ToldContent {
  coming(name: ContentKey): void;
  /** It is there, or comes no more. */
  settled(name: ContentKey): void;
  /** All that it said is void. */
  clear(): void;
}

interface Sent {
  readonly workerId: string;
  readonly names: ContentKey[];
  /** More of them, which take long to make; they are made when somebody asks for one of the others. */
  later: (() => readonly ContentKey[]) | undefined;
  /** When it is about to come no longer; infinite until the request is answered. */
  untilMs: number;
}

/**
 * Content that workers are about to have: by their own words, and until these come, since this router has sent them what
 * they compute it for.
 */
export class ComingContent {
  /** By name, and by worker: how many say so. */
  readonly #byName = new Map<ContentKey, Map<string, number>>();
  #pairs = 0;
  /** Those with names to be made. */
  readonly #unnamed = new Set<Sent>();
  /** Answered, in the order in which they end. */
  #answered: Sent[] = [];

  /** Names that are about to come somewhere. */
  get size(): number {
    return this.#byName.size;
  }

  /** Who is about to have it. */
  workersWith(name: ContentKey): Iterable<string> {
    const workers = this.#byName.get(name);
    if (!workers) return [];
    for (const sent of this.#unnamed) if (sent.names.includes(name)) this.#nameLater(sent);
    return workers.keys();
  }

  has(name: ContentKey, workerId: string): boolean {
    return this.#byName.get(name)?.has(workerId) ?? false;
  }

  /**
   * A worker is sent what it computes these for; the returned function is called with whether it has computed them, and
   * has an effect once.
   * @param later makes more names; asked for when somebody has asked for one of the others
   */
  send(
    workerId: string,
    names: readonly ContentKey[],
    later?: () => readonly ContentKey[],
  ): (isComputed: boolean, nowMs: number) => void {
    const kept = names.filter((name) => this.#add(name, workerId));
    const sent: Sent = { workerId, names: kept, later, untilMs: Infinity };
    if (later) this.#unnamed.add(sent);
    return (isComputed, nowMs) => {
      this.forgetTold(nowMs);
      if (sent.untilMs !== Infinity) return;
      sent.untilMs = nowMs + TELLING_MS;
      if (isComputed) this.#answered.push(sent);
      else this.#forget(sent);
    };
  }

  /** What that worker says from here on; one at a time for a worker. */
  toldBy(workerId: string): ToldContent {
    const told = new Set<ContentKey>();
    return {
      coming: (name) => {
        if (!told.has(name) && told.size < MOST_TOLD && this.#add(name, workerId)) told.add(name);
      },
      settled: (name) => {
        if (told.delete(name)) this.#remove(name, workerId);
      },
      clear: () => {
        for (const name of told) this.#remove(name, workerId);
        told.clear();
      },
    };
  }

  /** Of what was answered, the workers have told by then. */
  forgetTold(nowMs: number): void {
    let told = 0;
    for (let sent = this.#answered[told]; sent && sent.untilMs <= nowMs; sent = this.#answered[told]) {
      this.#forget(sent);
      told += 1;
    }
    if (told > 0) this.#answered = this.#answered.slice(told);
  }

  #nameLater(sent: Sent): void {
    this.#unnamed.delete(sent);
    for (const name of sent.later?.() ?? []) if (this.#add(name, sent.workerId)) sent.names.push(name);
    sent.later = undefined;
  }

  #forget(sent: Sent): void {
    this.#unnamed.delete(sent);
    for (const name of sent.names) this.#remove(name, sent.workerId);
  }

  /** False where there are too many. */
  #add(name: ContentKey, workerId: string): boolean {
    const workers = this.#byName.get(name);
    const count = workers?.get(workerId) ?? 0;
    if (count === 0 && this.#pairs >= MOST_PAIRS) return false;
    if (count === 0) this.#pairs += 1;
    if (workers) workers.set(workerId, count + 1);
    else this.#byName.set(name, new Map([[workerId, 1]]));
    return true;
  }

  #remove(name: ContentKey, workerId: string): void {
    const workers = this.#byName.get(name);
    const count = workers?.get(workerId) ?? 0;
    if (count > 1) {
      workers?.set(workerId, count - 1);
      return;
    }
    if (!workers?.delete(workerId)) return;
    this.#pairs -= 1;
    if (workers.size === 0) this.#byName.delete(name);
  }
}
