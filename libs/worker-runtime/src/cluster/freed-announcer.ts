import { setTimeout as sleep } from 'node:timers/promises';

/** Pages are given back in bursts, request by request: one announcement tells of all within this time. */
const PAUSE_MS = 5;

/** Announces that pages were given back: at once after a pause, then so often at most, and the latest always. */
export class FreedAnnouncer {
  #isDue = false;
  #running: Promise<void> | undefined;
  #stopped = false;

  /** @param announce tells what is free at that moment; where it fails the next heartbeat tells it */
  constructor(private readonly announce: () => Promise<void>) {}

  freed(): void {
    this.#isDue = true;
    this.#running ??= this.#run();
  }

  /** Nothing is announced from here on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#isDue && !this.#stopped) {
      this.#isDue = false;
      await this.announce().catch(() => undefined);
      await sleep(PAUSE_MS);
    }
    this.#running = undefined;
  }
}
