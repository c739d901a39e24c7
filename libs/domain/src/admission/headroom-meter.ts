import { type Headroom, NO_HEADROOM } from './headroom.js';
import type { Line } from './line.js';

/** What was let in so long ago counts for 1/e. */
const MEMORY_MS = 60_000;
/** A line whose remembered requests are fewer has been quiet for five minutes or more, and is forgotten. */
const LEAST_REQUESTS = 0.01;
/** Sums over all lines are made so often at most: there may be thousands. */
const JUDGED_MS = 1_000;
/** Of the requests that room is kept for, the share that may find it taken by others of them. */
const MISSES = 1 / 50;

/** What one line was let in with, exponentially weighted. */
class Recent {
  requests = 0;
  pages = 0;
  work = 0;
  #atMs: number;

  constructor(nowMs: number) {
    this.#atMs = nowMs;
  }

  add(pages: number, work: number, nowMs: number): void {
    this.fade(nowMs);
    this.requests += 1;
    this.pages += pages;
    this.work += work;
  }

  fade(nowMs: number): void {
    const kept = Math.exp(Math.min(0, this.#atMs - nowMs) / MEMORY_MS);
    this.requests *= kept;
    this.pages *= kept;
    this.work *= kept;
    this.#atMs = Math.max(this.#atMs, nowMs);
  }
}

/**
 * Learns how much room to keep for whom. A line that is served less than half of what its weight gives it, among all of
 * the last minutes, is a quiet one; the others leave room for its requests, so that these need not wait until a long
 * answer ends. While that room is short of some, all that comes free fills it, at the rate at which requests are let in;
 * of these a share ρ is the quiet ones' own. So a quiet request finds n requests' room taken in ρⁿ of all cases, and n is
 * the least with which that is a fiftieth.
 */
export class HeadroomMeter {
  readonly #recent = new Map<Line, Recent>();
  readonly #greedy = new Set<Line>();
  #headroom = NO_HEADROOM;
  #judgedMs = -Infinity;

  admitted(line: Line, pages: number, work: number, nowMs: number): void {
    let recent = this.#recent.get(line);
    if (!recent) this.#recent.set(line, (recent = new Recent(nowMs)));
    recent.add(pages, work, nowMs);
  }

  /** What a request of that line has to leave free. */
  besides(line: Line, nowMs: number): Headroom {
    if (Math.abs(nowMs - this.#judgedMs) >= JUDGED_MS) this.#judge(nowMs);
    return this.#greedy.has(line) ? this.#headroom : NO_HEADROOM;
  }

  #judge(nowMs: number): void {
    this.#judgedMs = nowMs;
    const all = { weight: 0, work: 0, requests: 0 };
    for (const [line, recent] of this.#recent) {
      recent.fade(nowMs);
      if (recent.requests < LEAST_REQUESTS) this.#recent.delete(line);
      else {
        all.weight += line.weight;
        all.work += recent.work;
        all.requests += recent.requests;
      }
    }
    const quiet = { requests: 0, pages: 0 };
    this.#greedy.clear();
    for (const [line, recent] of this.#recent) {
      if (recent.work / all.work >= line.weight / all.weight / 2) this.#greedy.add(line);
      else {
        quiet.requests += recent.requests;
        quiet.pages += recent.pages;
      }
    }
    this.#headroom = headroomFor(quiet, all.requests);
  }
}

function headroomFor(quiet: { readonly requests: number; readonly pages: number }, all: number): Headroom {
  if (quiet.requests === 0 || quiet.requests >= all) return NO_HEADROOM;
  const requests = Math.ceil(Math.log(MISSES) / Math.log(quiet.requests / all));
  return { requests, pages: Math.ceil(quiet.pages / quiet.requests) };
}
