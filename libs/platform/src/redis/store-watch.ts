import type { RedisClient } from './scripts.js';
import { stateOf, type StoreMemory, type StoreState } from './store-check.js';
import { redisAddress } from './url.js';

const INTERVAL_MS = 10_000;

/**
 * Whether a store that was fit at the start still is: its policy is read again with each new connection and every
 * ten seconds, since a store may be replaced or set up anew while parts run.
 */
export class StoreWatch {
  readonly #check = (): void => void this.#read();
  readonly #timer = setInterval(this.#check, INTERVAL_MS).unref();
  #state: StoreState = { evictingPolicy: undefined, memory: undefined };

  /** @param warn takes a line when something is found, and one when it is mended */
  constructor(
    private readonly client: RedisClient,
    private readonly url: string,
    private readonly warn: (line: string) => void,
  ) {
    client.on('ready', this.#check);
    this.#check();
  }

  /** What is wrong with the store, in one line. */
  get fault(): string | undefined {
    const { evictingPolicy } = this.#state;
    return evictingPolicy === undefined
      ? undefined
      : `Redis removes keys when its memory is full (maxmemory-policy ${evictingPolicy})`;
  }

  /** As it was read last; undefined where the store does not say. */
  get memory(): StoreMemory | undefined {
    return this.#state.memory;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.client.off('ready', this.#check);
  }

  async #read(): Promise<void> {
    // where it does not answer, what was found last stands
    const before = this.#state.evictingPolicy;
    this.#state = await stateOf(this.client).catch(() => this.#state);
    const { evictingPolicy: policy } = this.#state;
    if ((policy === undefined) === (before === undefined)) return;
    const told = redisAddress(this.url);
    this.warn(
      policy === undefined
        ? `Redis at ${told} removes no keys any more`
        : `Redis at ${told} has come to remove keys when its memory is full (maxmemory-policy ${policy}): set it to noeviction`,
    );
  }
}
