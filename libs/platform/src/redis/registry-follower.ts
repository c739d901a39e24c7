import {
  type Announcement,
  type Following,
  type FollowingFigures,
  HEARTBEAT_TTL_MS,
  type RegistryListener,
  Roster,
} from '@kvcapsule/domain/registry';

import { readMember, readStreamEntry } from './announcements.js';
import { isWrongType, runVerb } from './client.js';
import { anotherOf } from './connection.js';
import { readDescriptor } from './descriptors.js';
import { REGISTRY_KEYS, REGISTRY_TYPES, typesOf, workerKeys } from './keys.js';
import { defineScripts, type RedisClient } from './scripts.js';

/** How often the stream is read while nobody waits: five hundred heartbeats a second then come in four answers. */
const CALM_MS = 250;
/** While somebody waits for pages it is listened to, and read so often at most. */
const KEEN_MS = 5;
/** The longest that one command listens: far below the time that a command may take. */
const LISTEN_MS = 50;
/** How long requests are taken to wait after one was last seen to. Longer than between two heartbeats of a worker. */
const WANTED_MS = 3_000;
const MARKER_TTL_MS = 5_000;
const MARK_AGAIN_MS = 2_000;
/** Announcements of one answer at most, some 500 kB. */
const MOST_READ = 5_000;
/** Descriptors that are fetched at one time, and workers that may be waiting for theirs. */
const MOST_FETCHES = 64;
const MOST_MET = 4_096;
/** The longest that one worker's descriptor holds up what the others have said. */
const MEET_MS = 250;
/** Before the first entry of any stream. */
const BEGINNING = '0-0';

/** Two instants that are one: of the store's clock and of ours. */
interface Instant {
  readonly storeMs: number;
  readonly atMs: number;
}

/**
 * Reads the stream of announcements on a connection of its own, since one that listens answers nothing else. All
 * workers are read at the beginning and where announcements were missed; a descriptor once an epoch.
 */
export class RegistryFollower implements Following {
  readonly #tail: RedisClient;
  readonly #roster = new Roster();
  readonly #counts = { entries: 0, skipped: 0, gaps: 0 };
  /** Workers whose descriptors are on their way, with what they said last. */
  readonly #meeting = new Map<string, { said: Announcement; heardMs: number; met: Promise<void> }>();
  /** Id of the newest entry that was read; undefined before all workers have been read. */
  #cursor: string | undefined;
  #clock: Instant = { storeMs: 0, atMs: 0 };
  /** When the last read that succeeded began. */
  #readMs = performance.now();
  #lookedMs = -Infinity;
  #failed = false;
  #wantedUntilMs = -Infinity;
  #markedMs = -Infinity;
  #lookers: (() => void)[] = [];
  #wake: () => void = () => undefined;
  #stopped = false;
  #ended: Promise<void> = Promise.resolve();

  constructor(
    private readonly client: RedisClient,
    private readonly listener: RegistryListener,
  ) {
    this.#tail = defineScripts(anotherOf(client));
  }

  silentMs(workerId: string): number | undefined {
    return this.#roster.silentMs(workerId, performance.now());
  }

  get figures(): FollowingFigures {
    return { ...this.#counts, ageMs: performance.now() - this.#readMs };
  }

  /** Resolves after the first read. */
  async start(): Promise<void> {
    // without listeners a lost connection would end the process; each command says what has failed
    this.#tail.on('error', () => undefined);
    this.#tail.connect().catch(() => undefined);
    await this.#look();
    this.#ended = this.#run();
  }

  look(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    return new Promise((resolve) => {
      this.#lookers.push(resolve);
      this.#wake();
    });
  }

  want(): void {
    const nowMs = performance.now();
    const isWanted = this.#isWanted(nowMs);
    this.#wantedUntilMs = nowMs + WANTED_MS;
    if (isWanted) return;
    this.#markedMs = -Infinity;
    this.#wake();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    this.#tail.disconnect();
    await this.#ended;
    for (const done of this.#lookers.splice(0)) done();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const beganMs = performance.now();
      const isKeen = this.#isWanted(beganMs);
      if (isKeen) await this.#mark(beganMs);
      const mayListen = this.#lookers.length === 0 && beganMs - this.#lookedMs < CALM_MS;
      if (isKeen && mayListen) await this.#listen(beganMs);
      else await this.#look();
      const paceMs = this.#isWanted(beganMs) && !this.#failed ? KEEN_MS : CALM_MS;
      await this.#pause(paceMs - (performance.now() - beganMs));
    }
  }

  async #pause(ms: number): Promise<void> {
    if (this.#stopped || this.#lookers.length > 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, ms));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => undefined;
  }

  #isWanted(nowMs: number): boolean {
    return nowMs < this.#wantedUntilMs;
  }

  /** Lets workers announce what they give back, and takes in what they gave back before. */
  async #mark(nowMs: number): Promise<void> {
    if (nowMs - this.#markedMs < MARK_AGAIN_MS) return;
    const isFirst = this.#markedMs === -Infinity;
    this.#markedMs = nowMs;
    try {
      await this.#tail.set(REGISTRY_KEYS.wanted, '1', 'PX', MARKER_TTL_MS);
      if (!isFirst || this.#cursor === undefined) return;
      await this.#hearAll();
      this.#roster.free();
      this.#tell();
    } catch {
      // the read that follows says what is wrong; at its memory limit the store takes no marker
    }
  }

  /** Where the stream stands, then what is new in it, or all workers where something was missed. */
  async #look(): Promise<void> {
    const lookers = this.#lookers.splice(0);
    const beganMs = performance.now();
    try {
      const cursor = this.#cursor;
      // both in one write: what costs at a thousand workers is to wake up, not what is read
      const [[storeMs, oldest, newest], reply] = await this.#ask(() =>
        Promise.all([
          this.#tail.kvcLook(REGISTRY_KEYS.loads),
          cursor === undefined ? null : this.#read(cursor),
        ]),
      );
      this.#clock = { storeMs, atMs: performance.now() };
      if (this.#failed) this.#roster.excuse(this.#clock.atMs);
      const hasMissed = this.#hasMissed(oldest, newest);
      this.#take(reply);
      if (hasMissed) await this.#list(newest);
      else await this.#readTo(newest);
      await this.#untilMet();
      this.#failed = false;
      this.#readMs = this.#lookedMs = beganMs;
      this.#roster.expire(performance.now());
      this.#tell();
    } catch (error) {
      this.#failed = true;
      this.#lookedMs = -Infinity;
      if (!this.#stopped) this.listener.missed(error);
    }
    for (const done of lookers) done();
  }

  /** Announcements have gone that were not read, or the store has lost its data, or its clock has been turned back. */
  #hasMissed(oldest: string, newest: string): boolean {
    if (this.#cursor === undefined) return true;
    if (this.#cursor === BEGINNING) return false;
    return newest === '' || isLater(oldest, this.#cursor) || isLater(this.#cursor, newest);
  }

  async #list(newest: string): Promise<void> {
    if (this.#cursor !== undefined) this.#counts.gaps += 1;
    this.#roster.keep(await this.#hearAll());
    this.#cursor = newest === '' ? BEGINNING : newest;
  }

  /** What each member said last; ids of those that live. */
  async #hearAll(): Promise<Set<string>> {
    const members = await this.#ask(() => this.#tail.hgetall(REGISTRY_KEYS.members));
    const nowMs = performance.now();
    const storeMs = this.#storeMs(nowMs);
    const living = new Set<string>();
    const silent: string[] = [];
    await inParallel(Object.entries(members), MOST_FETCHES, async ([workerId, text]) => {
      const entry = readMember(workerId, text);
      const ageMs = entry ? Math.max(0, storeMs - entry.writtenMs) : Infinity;
      if (!entry || ageMs >= HEARTBEAT_TTL_MS) silent.push(workerId);
      else if (await this.#hear(entry.announcement, nowMs - ageMs)) living.add(workerId);
    });
    // one that registers at this moment comes back with its next heartbeat
    if (silent.length > 0) await this.#tail.hdel(REGISTRY_KEYS.members, ...silent);
    return living;
  }

  /** False where the worker's record is not, or is not of that epoch. */
  async #hear(said: Announcement, heardMs: number): Promise<boolean> {
    if (this.#roster.hear(said, heardMs)) return true;
    const json = await this.#descriptorOf(said);
    if (json === undefined) return false;
    const descriptor = readDescriptor(json);
    const isOwn = descriptor?.workerId === said.workerId;
    this.#roster.meet(said, isOwn ? descriptor : undefined, heardMs);
    return true;
  }

  async #descriptorOf({ workerId, epoch }: Announcement): Promise<string | undefined> {
    const keys = workerKeys(workerId);
    try {
      const fields = await runVerb(this.client, typesOf(keys), () =>
        this.client.hmget(keys.info, 'epoch', 'descriptor'),
      );
      return Number(fields[0]) === epoch ? (fields[1] ?? undefined) : undefined;
    } catch (error) {
      // its next heartbeat replaces what stands there
      if (isWrongType(error)) return undefined;
      throw error;
    }
  }

  async #readTo(newest: string): Promise<void> {
    while (this.#cursor !== undefined && newest !== '' && isLater(newest, this.#cursor)) {
      const after = this.#cursor;
      if (!this.#take(await this.#ask(() => this.#read(after)))) return;
    }
  }

  #read(after: string) {
    return this.#tail.xread('COUNT', MOST_READ, 'STREAMS', REGISTRY_KEYS.loads, after);
  }

  async #listen(beganMs: number): Promise<void> {
    const { loads } = REGISTRY_KEYS;
    try {
      const after = this.#cursor ?? BEGINNING;
      const reply = await this.#tail.xread(
        ...(['COUNT', MOST_READ, 'BLOCK', LISTEN_MS, 'STREAMS', loads, after] as const),
      );
      const hasNews = this.#take(reply);
      this.#readMs = beganMs;
      if (hasNews) this.#tell();
    } catch {
      // the look that follows says what is wrong
      this.#lookedMs = -Infinity;
    }
  }

  /** Takes what was read; false for nothing. */
  #take(reply: Awaited<ReturnType<RedisClient['xread']>>): boolean {
    const entries = reply?.[0]?.[1] ?? [];
    const nowMs = performance.now();
    const storeMs = this.#storeMs(nowMs);
    const mostAgeMs = nowMs - this.#readMs;
    for (const [id, fields] of entries) {
      const ageMs = Math.min(mostAgeMs, Math.max(0, storeMs - timeOf(id)));
      this.#takeOne(fields[1] ?? '', nowMs - ageMs);
      this.#cursor = id;
    }
    this.#counts.entries += entries.length;
    return entries.length > 0;
  }

  #takeOne(text: string, heardMs: number): void {
    const entry = readStreamEntry(text);
    if (!entry) {
      this.#counts.skipped += 1;
      return;
    }
    const { kind, announcement } = entry;
    if (kind === 'left') {
      this.#roster.leave(announcement.workerId, announcement.epoch);
      return;
    }
    if (kind === 'freed') this.#roster.free();
    if (!this.#roster.hear(announcement, heardMs)) this.#meet(announcement, heardMs);
  }

  /** Fetches the descriptor of a new epoch; meanwhile the worker may say more. */
  #meet(said: Announcement, heardMs: number): void {
    const { workerId } = said;
    const meeting = this.#meeting.get(workerId);
    if (meeting) Object.assign(meeting, { said, heardMs });
    else if (this.#meeting.size >= MOST_MET) this.#counts.skipped += 1;
    else this.#meeting.set(workerId, { said, heardMs, met: this.#introduce(workerId) });
  }

  async #introduce(workerId: string): Promise<void> {
    // so that all that this answer holds of it is known
    await Promise.resolve();
    const first = this.#meeting.get(workerId);
    const isThere = first && (await this.#hear(first.said, first.heardMs).catch(() => false));
    const last = this.#meeting.get(workerId);
    this.#meeting.delete(workerId);
    if (!isThere) this.#counts.skipped += 1;
    else if (last && !this.#roster.hear(last.said, last.heardMs)) this.#meet(last.said, last.heardMs);
  }

  /** A store that is slow with some of them keeps back nobody else. */
  async #untilMet(): Promise<void> {
    if (this.#meeting.size === 0) return;
    const met = Promise.all([...this.#meeting.values()].map((meeting) => meeting.met));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, MEET_MS)));
    await Promise.race([met, late]);
    clearTimeout(timer);
  }

  #tell(): void {
    if (!this.#stopped) this.listener.heard(this.#roster.takeNews());
  }

  #storeMs(nowMs: number): number {
    return this.#clock.storeMs + (nowMs - this.#clock.atMs);
  }

  #ask<T>(verb: () => Promise<T>): Promise<T> {
    return runVerb(this.#tail, REGISTRY_TYPES, verb);
  }
}

function timeOf(id: string): number {
  return Number(id.slice(0, id.indexOf('-')));
}

/** Whether a stream entry's id is later than another's. */
function isLater(id: string, than: string): boolean {
  const [ms, otherMs] = [timeOf(id), timeOf(than)];
  const order = (text: string) => Number(text.slice(text.indexOf('-') + 1));
  return ms === otherMs ? order(id) > order(than) : ms > otherMs;
}

/** So many at a time. */
async function inParallel<T>(
  items: readonly T[],
  most: number,
  task: (item: T) => Promise<void>,
): Promise<void> {
  const left = items.values();
  const work = async (): Promise<void> => {
    for (const item of left) await task(item);
  };
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, work));
}
