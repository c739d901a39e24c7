/**
 * Bytes that the features in use may take. Requests take their room before they make features, one after the other
 * and all of it at once, so that none ever waits while it holds what another waits for. One that needs more than
 * there is has it alone.
 */
export class FeatureRoom {
  #taken = 0;
  readonly #queue: { readonly bytes: number; readonly enter: () => void }[] = [];
  #entering = false;

  constructor(readonly capacityBytes: number) {}

  get takenBytes(): number {
    return this.#taken;
  }

  /** Calls `enter` when the bytes are taken, at once where there is room. */
  take(bytes: number, enter: () => void): void {
    this.#queue.push({ bytes, enter });
    this.#admit();
  }

  give(bytes: number): void {
    this.#taken -= bytes;
    this.#admit();
  }

  #admit(): void {
    // who enters may give its room back at once; the loop goes on with it, so no stack grows with the queue
    if (this.#entering) return;
    this.#entering = true;
    for (let next = this.#queue[0]; next && this.#fits(next.bytes); next = this.#queue[0]) {
      this.#queue.shift();
      this.#taken += next.bytes;
      next.enter();
    }
    this.#entering = false;
  }

  #fits(bytes: number): boolean {
    return this.#taken === 0 || this.#taken + bytes <= this.capacityBytes;
  }
}
