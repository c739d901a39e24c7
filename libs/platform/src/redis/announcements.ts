import { KvcError } from '@kvcapsule/contracts';
import type { Announcement, WorkerLoad } from '@kvcapsule/domain/registry';

import { WORKER_ID } from './checks.js';

/**
 * What stands in the registry's stream and in its members, as `announce-3.lua` writes it. A stream entry is
 * `KIND ID EPOCH LOAD`, a member `TIME EPOCH LOAD`, a load `STATE RUNNING WAITING FREE`. A router at a thousand workers
 * reads five hundred of them a second, so they are short and read by hand. Whatever else stands there is passed over.
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

const KINDS: readonly string[] = ['beat', 'freed', 'left'] satisfies AnnouncementKind[];
const STATES: readonly string[] = ['ready', 'draining', 'failed'] satisfies WorkerLoad['state'][];
/** Of the longest id, and numbers of 16 digits. */
const MOST_CHARACTERS = 160;
const COUNT = /^\d{1,16}$/;

/** A load as it is written. Throws where nobody could read it. */
export function loadText({ state, running, waiting, freePages }: WorkerLoad): string {
  const text = `${state} ${running} ${waiting} ${freePages}`;
  if (!readLoad(text.split(' '), 0)) throw new KvcError('INTERNAL', `no worker’s load: ${text}`);
  return text;
}

export function readStreamEntry(text: string): StreamEntry | undefined {
  if (text.length > MOST_CHARACTERS) return undefined;
  const parts = text.split(' ');
  const [kind = '', workerId = ''] = parts;
  const announcement = readAnnouncement(workerId, parts, 2);
  if (!announcement || !KINDS.includes(kind)) return undefined;
  return { kind: kind as AnnouncementKind, announcement };
}

export function readMember(workerId: string, text: string): MemberEntry | undefined {
  if (text.length > MOST_CHARACTERS) return undefined;
  const parts = text.split(' ');
  const writtenMs = readCount(parts[0]);
  const announcement = readAnnouncement(workerId, parts, 1);
  return writtenMs === undefined || !announcement ? undefined : { writtenMs, announcement };
}

/** Of the epoch at `at` and the load behind it, with nothing after that. */
function readAnnouncement(workerId: string, parts: readonly string[], at: number): Announcement | undefined {
  const epoch = readCount(parts[at]);
  const load = readLoad(parts, at + 1);
  return epoch === undefined || !load || !WORKER_ID.test(workerId) ? undefined : { workerId, epoch, load };
}

function readLoad(parts: readonly string[], at: number): WorkerLoad | undefined {
  const state = parts[at] ?? '';
  const running = readCount(parts[at + 1]);
  const waiting = readCount(parts[at + 2]);
  const freePages = readCount(parts[at + 3]);
  if (running === undefined || waiting === undefined || freePages === undefined) return undefined;
  if (parts.length !== at + 4 || !STATES.includes(state)) return undefined;
  return { state: state as WorkerLoad['state'], running, waiting, freePages };
}

function readCount(text = ''): number | undefined {
  const value = Number(text);
  return COUNT.test(text) && Number.isSafeInteger(value) ? value : undefined;
}
