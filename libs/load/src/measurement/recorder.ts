import { GapHistogram } from './gap-histogram.js';
import { isOk, type RequestRecord } from './request-record.js';

/** Kinds of errors that are told apart; a server invents no more. */
const MOST_KINDS = 64;

/** What became of requests: started = ok + errors + cancelled, once none is open. */
export interface Counts {
  readonly started: number;
  readonly ok: number;
  readonly cancelled: number;
  /** By kind. */
  readonly errors: Readonly<Record<string, number>>;
}

/** What the requests of a run come to, the warm-up's left out. */
export interface Measured {
  readonly records: readonly RequestRecord[];
  /** Times between two pieces of one answer, of all that are ok. */
  readonly gaps: GapHistogram;
  readonly counts: Counts;
  /** Requests of the warm-up. */
  readonly warmUp: number;
}

export function countsOf(records: readonly RequestRecord[]): Counts {
  const errors = new Map<string, number>();
  let [ok, cancelled] = [0, 0];
  for (const { outcome } of records) {
    if (outcome === 'ok') ok += 1;
    else if (outcome === 'cancelled') cancelled += 1;
    else {
      const kind = errors.has(outcome) || errors.size < MOST_KINDS ? outcome : 'other';
      errors.set(kind, (errors.get(kind) ?? 0) + 1);
    }
  }
  return { started: records.length, ok, cancelled, errors: Object.fromEntries(errors) };
}

/** Takes requests as they end. */
export class Recorder {
  readonly records: RequestRecord[] = [];
  readonly gaps = new GapHistogram();
  warmUp = 0;

  /** @param warmUpMs what was to be sent before does not count */
  constructor(readonly warmUpMs: number) {}

  /** @param gaps ms between its pieces of text */
  take(record: RequestRecord, gaps: readonly number[]): void {
    if (record.intendedMs < this.warmUpMs) {
      this.warmUp += 1;
      return;
    }
    this.records.push(record);
    if (isOk(record)) for (const gap of gaps) this.gaps.record(gap);
  }

  measured(): Measured {
    const { records, gaps, warmUp } = this;
    return { records, gaps, counts: countsOf(records), warmUp };
  }
}

/** Of load processes: as one would have measured it. */
export function mergeMeasured(parts: readonly Measured[]): Measured {
  const records = parts.flatMap((part) => part.records).sort((a, b) => a.intendedMs - b.intendedMs);
  const gaps = new GapHistogram();
  for (const part of parts) gaps.add(part.gaps);
  return {
    records,
    gaps,
    counts: countsOf(records),
    warmUp: parts.reduce((sum, part) => sum + part.warmUp, 0),
  };
}
