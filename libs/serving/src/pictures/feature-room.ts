/**
 * Bytes that the features in use may take. Requests take their room before they make features, one after the other
 * and all of it at once, so that none ever waits while it holds what another waits for. One that needs more than
 * there is has it alone.
 */
export class FeatureRoom {
  #taken = 0;
  readonly #queue: { readonly bytes: number; readonly enter: () => void }[] = [];

  constructor(readonly capacityBytes: number) {}

  get takenBytes(): number {
    return this.#taken;
  }

  async take(bytes: number): Promise<void> {
    if (this.#queue.length === 0 && this.#fits(bytes)) {
      this.#taken += bytes;
      return;
    }
    await new Promise<void>((resolve) => this.#queue.push({ bytes, enter: resolve }));
  }

  give(bytes: number): void {
    this.#taken -= bytes;
    for (let next = this.#queue[0]; next && this.#fits(next.bytes); next = this.#queue[0]) {
      this.#queue.shift();
      this.#taken += next.bytes;
      next.enter();
    }
  }

  #fits(bytes: number): boolean {
    return this.#taken === 0 || this.#taken + bytes <= this.capacityBytes;
  }
}
