import type { ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import { CliError } from '../failure.js';

export const EMPTY = 'nothing is left';

export function left({ running, waiting }: { readonly running: number; readonly waiting: number }): string {
  return running + waiting === 0 ? EMPTY : `${String(running)} running, ${String(waiting)} waiting`;
}

/** What a router says of a worker that drains. */
export type Sight =
  | { readonly kind: 'gone' }
  /** `isOpen`: it takes requests. */
  | { readonly kind: 'seen'; readonly isOpen: boolean; readonly left: string }
  | { readonly kind: 'unknown'; readonly why: string };

export function sightIn({ workers, router }: ClusterSnapshot, id: string): Sight {
  const worker = workers.find((one) => one.id === id);
  if (worker) return { kind: 'seen', isOpen: worker.state === 'ready', left: left(worker) };
  if (router.store_answers) return { kind: 'gone' };
  return { kind: 'unknown', why: 'the router does not know: Redis does not answer' };
}

/**
 * Waits for a worker's last answer. A router tells of a worker what that has said last, which may be from before it was
 * asked to drain: nothing of that counts until the worker has been seen to drain.
 */
export class DrainWait {
  last = '';
  #hasDrained = false;

  constructor(private readonly worker: string) {}

  /**
   * @returns whether it is over, and a line where there is something new to tell
   * @throws CliError where it takes requests again
   */
  next(sight: Sight): { readonly isOver: boolean; readonly line?: string } {
    // one that has gone has nothing left
    if (sight.kind === 'gone') return { isOver: true };
    if (sight.kind === 'unknown') return this.#tell(sight.why);
    if (sight.isOpen && this.#hasDrained)
      throw new CliError(`${this.worker} takes requests again: this was undone, or it has started anew.`);
    if (sight.isOpen) return { isOver: false };
    this.#hasDrained = true;
    return sight.left === EMPTY ? { isOver: true } : this.#tell(sight.left);
  }

  #tell(line: string): { readonly isOver: false; readonly line?: string } {
    if (line === this.last) return { isOver: false };
    this.last = line;
    return { isOver: false, line };
  }
}
