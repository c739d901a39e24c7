/** Names that are told at one time at most: beyond them a request's content is told when it is there. */
const MOST_NAMES = 1_024;

/** What one request stores, one after the other: when one is there, so are those before it, or they never will be. */
interface Chain {
  readonly requestId: string;
  readonly names: string[];
}

/** Names that a worker's requests are about to store. Several may be about to store the same. */
export class ExpectedNames implements Iterable<string> {
  readonly #byName = new Map<string, Set<Chain>>();
  readonly #byRequest = new Map<string, Set<Chain>>();

  constructor(private readonly capacity = MOST_NAMES) {}

  /** In the order in which they were first expected; they may be read on while they change, as a `Map` may. */
  [Symbol.iterator](): Iterator<string, undefined> {
    return this.#byName.keys();
  }

  /** @returns those names that nobody was about to store; none where there are too many */
  expect(requestId: string, chains: readonly (readonly string[])[]): string[] {
    const count = chains.reduce((sum, { length }) => sum + length, 0);
    if (count === 0 || this.#byName.size + count > this.capacity) return [];
    const fresh: string[] = [];
    const ofRequest = setAt(this.#byRequest, requestId);
    for (const names of chains) {
      const chain = { requestId, names: [...names] };
      ofRequest.add(chain);
      for (const name of chain.names) {
        if (!this.#byName.has(name)) fresh.push(name);
        setAt(this.#byName, name).add(chain);
      }
    }
    return fresh;
  }

  /** A name is there. @returns the names before it that nobody is about to store any more */
  arrived(name: string): string[] {
    const chains = [...(this.#byName.get(name) ?? [])];
    const before = chains.flatMap((chain) => this.#drop(chain, chain.names.indexOf(name) + 1));
    return before.filter((each) => each !== name);
  }

  /** A request has ended. @returns the names that nobody is about to store any more */
  ended(requestId: string): string[] {
    const chains = [...(this.#byRequest.get(requestId) ?? [])];
    return chains.flatMap((chain) => this.#drop(chain, chain.names.length));
  }

  /** So many names from the chain's beginning on. */
  #drop(chain: Chain, count: number): string[] {
    const gone = chain.names.splice(0, count).filter((name) => leave(this.#byName, name, chain));
    if (chain.names.length === 0) leave(this.#byRequest, chain.requestId, chain);
    return gone;
  }
}

function setAt<T>(sets: Map<string, Set<T>>, key: string): Set<T> {
  const known = sets.get(key);
  if (known) return known;
  const set = new Set<T>();
  sets.set(key, set);
  return set;
}

/** Whether it was the last of its set. */
function leave<T>(sets: Map<string, Set<T>>, key: string, member: T): boolean {
  const set = sets.get(key);
  set?.delete(member);
  return set?.size === 0 && sets.delete(key);
}
