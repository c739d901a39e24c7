import { KvcError } from '@kvcapsule/contracts';
import { z } from 'zod';
import {
  countsOf,
  GapHistogram,
  type Measured,
  type RequestRecord,
  toMicroseconds,
} from '../measurement/index.js';

export const LOAD_RESULT = 'kvcapsule.load';
const VERSION = 1;
const MOST_REQUESTS = 10_000_000;

const ms = z.number();
const count = z.number().int().min(0);
const distribution = z.object({
  ...{ count, mean: ms.nullable(), p50: ms.nullable(), p90: ms.nullable(), p95: ms.nullable() },
  ...{ p99: ms.nullable(), p999: ms.nullable(), most: ms.nullable() },
});
const share = z.object({ hits: count, trials: count, share: z.number(), low: z.number(), high: z.number() });
const summary = z.object({
  counts: z.object({ started: count, ok: count, cancelled: count, errors: z.record(z.string(), count) }),
  ...{ warmUp: count, seconds: z.number() },
  perSecond: z.object({
    ...{ requests: z.number(), outputTokens: z.number(), promptTokens: z.number() },
    good: z.number().optional(),
  }),
  latency: z.object({
    ...{
      ttft: distribution,
      itl: distribution,
      tpot: distribution,
      e2e: distribution,
      longestGap: distribution,
    },
  }),
  fromSend: z.object({ ttft: distribution, e2e: distribution }),
  lag: distribution,
  generator: z.object({ loopLagMs: z.number(), cpuSeconds: z.number() }),
  tokens: z.object({
    ...{
      prompt: count,
      cached: count,
      completion: count,
      parts: count,
      withoutUsage: count,
      contradicting: count,
    },
  }),
  good: share.optional(),
  invalid: z.array(z.string()),
});

/** Columns of the requests, one number each; null where there is none. */
const numbers = z.array(z.number().nullable()).max(MOST_REQUESTS);
const requests = z.object({
  ...{ conversation: numbers, turn: numbers, pictures: numbers },
  ...{ intendedMs: numbers, sentMs: numbers, firstMs: numbers, lastMs: numbers, endMs: numbers },
  ...{ longestGapMs: numbers, parts: numbers },
  ...{ promptTokens: numbers, cachedTokens: numbers, completionTokens: numbers },
  /** Index into `outcomes`. */
  outcome: numbers,
  outcomes: z.array(z.string()),
});

/** Results of a load test as they stand in a file; fields are only ever added. */
export const loadResult = z.object({
  kind: z.literal(LOAD_RESULT),
  version: z.literal(VERSION),
  ...{ name: z.string(), command: z.string(), commit: z.string(), date: z.string(), machine: z.string() },
  /** Where it went and what was asked, without keys and headers. */
  target: z.object({ url: z.string(), model: z.string() }),
  load: z.string(),
  workload: z.string(),
  processes: count,
  slo: z.record(z.string(), z.number()).optional(),
  /** Whether it ran to its planned end. */
  complete: z.boolean(),
  /** Why it did not. */
  partial: z.array(z.string()).optional(),
  /** Of conversations from a file: different ones, those asked, and of these the ones that had been asked before. */
  repeats: z.object({ distinct: count, asked: count, again: count }).optional(),
  warmUpMs: z.number(),
  /** Load average of the machine at begin and end. */
  machineLoad: z.array(z.number()),
  summary,
  /** Times between pieces of text: an HdrHistogram in µs, compressed, base64. */
  gaps: z.string(),
  requests,
});

export type LoadResult = z.infer<typeof loadResult>;
type Columns = z.infer<typeof requests>;

const NUMBERS = [
  ...(['conversation', 'turn', 'pictures', 'intendedMs', 'sentMs', 'firstMs', 'lastMs', 'endMs'] as const),
  ...(['longestGapMs', 'parts', 'promptTokens', 'cachedTokens', 'completionTokens'] as const),
] as const;

export function columnsOf(records: readonly RequestRecord[]): Columns {
  const outcomes = [...new Set(records.map(({ outcome }) => outcome))];
  const column = (name: (typeof NUMBERS)[number]) =>
    records.map((record) => {
      const value = record[name];
      return value === undefined ? null : toMicroseconds(value);
    });
  const columns = Object.fromEntries(NUMBERS.map((name) => [name, column(name)]));
  return {
    ...(columns as Pick<Columns, (typeof NUMBERS)[number]>),
    outcome: records.map(({ outcome }) => outcomes.indexOf(outcome)),
    outcomes,
  };
}

/** What was measured, from a file's columns. */
export function measuredOf({ requests: columns, gaps, summary: { warmUp } }: LoadResult): Measured {
  const records = columns.outcome.map((outcome, at) => {
    const values = NUMBERS.flatMap((name) => {
      const value = columns[name][at];
      return value === null || value === undefined ? [] : [[name, value] as const];
    });
    return {
      ...Object.fromEntries(values),
      outcome: columns.outcomes[outcome ?? -1] ?? 'other',
    } as RequestRecord;
  });
  return { records, gaps: GapHistogram.decode(gaps), counts: countsOf(records), warmUp };
}

/** @throws KvcError CONFIG_INVALID for a file that is no load result of this version */
export function parseLoadResult(name: string, text: string): LoadResult {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new KvcError('CONFIG_INVALID', `${name}: not JSON`, { cause });
  }
  const read = loadResult.safeParse(value);
  if (!read.success)
    throw new KvcError('CONFIG_INVALID', `${name}: not the results of bench serve, or of another version`, {
      cause: read.error,
    });
  return read.data;
}
