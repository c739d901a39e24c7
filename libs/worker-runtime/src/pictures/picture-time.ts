import type { PictureName } from '@kvcapsule/serving';

/** Beside a step the engine gives pictures slices that last about as long as the step. */
const SHARE_BESIDE_STEPS = 0.5;

/**
 * How long the engine has computed at each picture. It computes several in turn, and steps between, so what passes is
 * divided among those that are under way. Time is an argument, in milliseconds of one steady clock.
 */
export class PictureTime {
  readonly #ms = new Map<PictureName, number>();
  #steps = 0;
  #atMs = 0;

  begin(name: PictureName, nowMs: number): void {
    this.#advance(nowMs);
    this.#ms.set(name, 0);
  }

  /** Seconds that the engine spent on it. */
  end(name: PictureName, nowMs: number): number {
    this.#advance(nowMs);
    const ms = this.#ms.get(name) ?? 0;
    this.#ms.delete(name);
    return ms / 1000;
  }

  stepBegins(nowMs: number): void {
    this.#advance(nowMs);
    this.#steps += 1;
  }

  stepEnds(nowMs: number): void {
    this.#advance(nowMs);
    this.#steps -= 1;
  }

  #advance(nowMs: number): void {
    const share = (this.#steps > 0 ? SHARE_BESIDE_STEPS : 1) / this.#ms.size;
    for (const [name, ms] of this.#ms) this.#ms.set(name, ms + share * (nowMs - this.#atMs));
    this.#atMs = nowMs;
  }
}
