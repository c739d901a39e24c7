import { backoffMs } from '../state/backoff.js';
import { readEvents } from './events.js';

export type Connection = 'connecting' | 'live' | 'lost' | 'locked';

export interface FeedListener {
  /** Told anew with every word that comes, be it a comment. */
  state(connection: Connection): void;
  event(name: string | undefined, data: string): void;
}

/** A stream tells something every ten seconds; one that is silent for longer is made anew. */
const SILENCE_MS = 15_000;
const LOOK_MS = 1_000;
/** Looks are this late where the machine has slept: what was shown before is not what is. */
const NAP_MS = 6_000;

/** One stream of the cluster's events, made anew with a backoff for as long as it is wanted. */
export class Feed {
  #attempt = new AbortController();
  #proceed: () => void = () => undefined;
  #isStopped = false;

  constructor(
    private readonly url: string,
    private readonly key: string,
    private readonly listener: FeedListener,
  ) {
    addEventListener('online', this.#hurry);
    void this.#run();
  }

  stop(): void {
    this.#isStopped = true;
    removeEventListener('online', this.#hurry);
    this.#attempt.abort();
    this.#proceed();
  }

  /** The network is back. */
  readonly #hurry = (): void => {
    this.#proceed();
  };

  async #run(): Promise<void> {
    this.listener.state('connecting');
    for (let failures = 1; ; failures += 1) {
      const isLocked = await this.#listen(() => (failures = 0)).catch(() => false);
      if (this.#isStopped) return;
      this.listener.state(isLocked ? 'locked' : 'lost');
      if (isLocked) return;
      await this.#pause(backoffMs(Math.max(1, failures), Math.random()));
      if (this.#isStopped) return;
    }
  }

  /** Resolves when the stream ends; to true where the key is none. */
  async #listen(onEvent: () => void): Promise<boolean> {
    this.#attempt = new AbortController();
    const { signal } = this.#attempt;
    let [heardAt, lookedAt] = [Date.now(), Date.now()];
    const watch = setInterval(() => {
      const now = Date.now();
      if (now - heardAt > SILENCE_MS || now - lookedAt > NAP_MS) this.#attempt.abort();
      lookedAt = now;
    }, LOOK_MS);
    try {
      const headers = this.key === '' ? {} : { authorization: `Bearer ${this.key}` };
      const { body, ok, status } = await fetch(this.url, { headers, signal });
      if (status === 401) return true;
      if (!ok || !body) throw new Error(`The server answered ${status}.`);
      const heard = () => {
        heardAt = Date.now();
        this.listener.state('live');
      };
      await readEvents(
        body,
        ({ event, data }) => {
          onEvent();
          this.listener.event(event, data);
          heard();
        },
        heard,
      );
      return false;
    } finally {
      clearInterval(watch);
      this.#attempt.abort();
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#proceed = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
