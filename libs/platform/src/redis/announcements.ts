import { KvcError } from '@kvcapsule/contracts';
import type { Announcement, PoolFigures, WorkerLoad } from '@kvcapsule/domain/registry';

import { WORKER_ID } from './checks.js';

/**
 * What stands in the registry's stream and in its members, as `announce-3.lua` writes it. A stream entry is
 * `KIND ID EPOCH LOAD`, a member `TIME EPOCH LOAD`, a load `STATE RUNNING WAITING FREE`
 * and, where a worker tells what its pool holds, `RAW CAPSULE CACHED SWAPPED RAW_BYTES DRAWN` behind it. A router at a
 * thousand workers reads five hundred of them a second, so they are short and read by hand. Fields are only ever
 * appended, and words behind those that are known here are passed over, so that a router reads what a newer worker
 * writes. An entry that is anything else is passed over whole.
 */

export type AnnouncementKind = 'beat' | 'freed' | 'left';

export interface StreamEntry {
  readonly kind: AnnouncementKind;
  readonly announcement: Announcement;
}

export interface MemberEntry {
  /** When it was written, by the store's clock. */
  readonly writtenMs: number;
  readonly announcement: Announcement;
}

const KINDS = ['beat', 'freed', 'left'] as const satisfies AnnouncementKind[];
const STATES = ['ready', 'draining', 'failed'] as const satisfies WorkerLoad['state'][];
/** Of the longest id, and numbers of 16 digits: what is known here stands within them. */
const MOST_CHARACTERS = 260;
const MOST_DIGITS = 16;

/** A load as it is written. Throws where nobody could read it. */
export function loadText({ state, running, waiting, freePages, pool }: WorkerLoad): string {
  const text = `${state} ${running} ${waiting} ${freePages}${pool ? poolText(pool) : ''}`;
  const words = new Words(text);
  if (!words.load()) throw new KvcError('INTERNAL', `no worker’s load: ${text}`);
  return text;
}

function poolText(pool: PoolFigures): string {
  const { rawPages, capsulePages, cachedPages, swappedPages, rawBytes, drawnTokens } = pool;
  return ` ${rawPages} ${capsulePages} ${cachedPages} ${swappedPages} ${rawBytes} ${drawnTokens}`;
}

export function readStreamEntry(text: string): StreamEntry | undefined {
  const words = new Words(text);
  const kind = words.oneOf(KINDS);
  const workerId = words.next();
  const announcement = kind && words.announcement(workerId);
  return announcement && { kind, announcement };
}

export function readMember(workerId: string, text: string): MemberEntry | undefined {
  const words = new Words(text);
  const writtenMs = words.count();
  const announcement = words.announcement(workerId);
  return writtenMs < 0 || !announcement ? undefined : { writtenMs, announcement };
}

/** The words of a text one after the other, with one blank between. Numbers are read where they stand. */
class Words {
  #at = 0;

  constructor(private readonly text: string) {}

  /** Empty where there is none. */
  next(): string {
    const from = this.#at;
    return this.text.slice(from, this.#skip());
  }

  oneOf<Word extends string>(words: readonly Word[]): Word | undefined {
    const from = this.#at;
    const length = this.#skip() - from;
    return words.find((word) => word.length === length && this.text.startsWith(word, from));
  }

  /** Of digits alone; -1 for anything else. */
  count(): number {
    const from = this.#at;
    const end = this.#skip();
    if (end <= from || end - from > MOST_DIGITS) return -1;
    let value = 0;
    for (let at = from; at < end; at += 1) {
      const digit = this.text.charCodeAt(at) - 48;
      if (!(digit >= 0 && digit <= 9)) return -1;
      value = value * 10 + digit;
    }
    return Number.isSafeInteger(value) ? value : -1;
  }

  /** The epoch and the load. */
  announcement(workerId: string): Announcement | undefined {
    const epoch = this.count();
    const load = this.load();
    return epoch < 0 || !load || !WORKER_ID.test(workerId) ? undefined : { workerId, epoch, load };
  }

  /** The load, and nothing of what stands behind it. */
  load(): WorkerLoad | undefined {
    const state = this.oneOf(STATES);
    const running = this.count();
    const waiting = this.count();
    const freePages = this.count();
    const isShort = this.#isAtEnd;
    const pool = isShort ? undefined : this.#pool();
    const isWhole = isShort || pool !== undefined;
    if (!state || !isWhole || running < 0 || waiting < 0 || freePages < 0) return undefined;
    return pool ? { state, running, waiting, freePages, pool } : { state, running, waiting, freePages };
  }

  get #isAtEnd(): boolean {
    return this.#at === this.text.length + 1;
  }

  #pool(): PoolFigures | undefined {
    const rawPages = this.count();
    const capsulePages = this.count();
    const cachedPages = this.count();
    const swappedPages = this.count();
    const rawBytes = this.count();
    const drawnTokens = this.count();
    const least = Math.min(rawPages, capsulePages, cachedPages, swappedPages, rawBytes, drawnTokens);
    if (least < 0) return undefined;
    return { rawPages, capsulePages, cachedPages, swappedPages, rawBytes, drawnTokens };
  }

  /** Goes to the next word; where this one ends. */
  #skip(): number {
    const { text } = this;
    const from = Math.min(this.#at, text.length);
    const blank = from >= MOST_CHARACTERS ? -1 : text.indexOf(' ', from);
    const end = blank < 0 ? text.length : blank;
    this.#at = end + 1;
    return end;
  }
}
