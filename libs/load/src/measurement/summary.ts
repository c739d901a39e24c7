import { wilsonInterval, type Share } from '../statistics/index.js';
import { type Distribution, distributionOf, distributionOfGaps } from './distribution.js';
import type { Counts, Measured } from './recorder.js';
import {
  e2eFromSendMs,
  e2eMs,
  isOk,
  lagMs,
  type RequestRecord,
  tpotMs,
  ttftFromSendMs,
  ttftMs,
} from './request-record.js';
import { isGood, isMissed, type Slo } from './slo.js';

/** How well the load process itself kept up. */
export interface GeneratorHealth {
  /** 99th percentile of how late its event loop was, in ms. */
  readonly loopLagMs: number;
  /** CPU time of the load processes over the run, in seconds. */
  readonly cpuSeconds: number;
}

export interface Summary {
  readonly counts: Counts;
  readonly warmUp: number;
  /** From the first request that counts until the last one ended. */
  readonly seconds: number;
  readonly perSecond: {
    readonly requests: number;
    readonly outputTokens: number;
    readonly promptTokens: number;
    /** Requests within the SLO; absent without one. */
    readonly good?: number;
  };
  /** Of requests that are ok, in ms, counted from when they were to be sent. */
  readonly latency: {
    readonly ttft: Distribution;
    readonly itl: Distribution;
    readonly tpot: Distribution;
    readonly e2e: Distribution;
    readonly longestGap: Distribution;
  };
  /** The same counted from when they were sent, as generators do that wait for a slow server. */
  readonly fromSend: { readonly ttft: Distribution; readonly e2e: Distribution };
  /** From when requests were to be sent until they were. */
  readonly lag: Distribution;
  readonly generator: GeneratorHealth;
  readonly tokens: {
    readonly prompt: number;
    readonly cached: number;
    readonly completion: number;
    /** Pieces of text; a server may send several tokens in one, never several pieces of one. */
    readonly parts: number;
    /** Answers without a count of the server's. */
    readonly withoutUsage: number;
    /** Answers with more pieces than tokens counted: such a count is wrong. */
    readonly contradicting: number;
  };
  /** Share of all whose end is known, errors included; absent without an SLO. */
  readonly good?: Share;
  /** Why the numbers are not to be used; empty when they are. */
  readonly invalid: readonly string[];
}

const total = (records: readonly RequestRecord[], of: (record: RequestRecord) => number): number =>
  records.reduce((sum, record) => sum + of(record), 0);

function secondsOf(records: readonly RequestRecord[]): number {
  let [begin, end] = [Infinity, -Infinity];
  for (const { intendedMs, endMs } of records) {
    begin = Math.min(begin, intendedMs);
    end = Math.max(end, endMs);
  }
  return records.length === 0 ? 0 : (end - begin) / 1_000;
}

/** Per second; nought of a run without a length. */
const rate = (count: number, seconds: number): number => (seconds > 0 ? count / seconds : 0);

/**
 * @param lagLimitMs a generator whose 99th percentile is later than this measures itself
 * @param slo absent: nothing is said of good requests
 */
export function summarize(
  { records, gaps, counts, warmUp }: Measured,
  generator: GeneratorHealth,
  lagLimitMs: number,
  slo?: Slo,
): Summary {
  const ok = records.filter(isOk);
  const seconds = secondsOf(records);
  const of = (time: (record: RequestRecord) => number) => distributionOf(ok.map(time));
  const lag = distributionOf(records.map(lagMs));
  const good = slo && records.filter((record) => isGood(record, slo)).length;
  const completion = total(ok, ({ completionTokens, parts }) => completionTokens || parts);
  const prompt = total(ok, ({ promptTokens }) => promptTokens);
  return {
    ...{ counts, warmUp, seconds },
    perSecond: {
      requests: rate(ok.length, seconds),
      outputTokens: rate(completion, seconds),
      promptTokens: rate(prompt, seconds),
      ...(good !== undefined && { good: rate(good, seconds) }),
    },
    latency: {
      ...{ ttft: of(ttftMs), itl: distributionOfGaps(gaps), tpot: of(tpotMs), e2e: of(e2eMs) },
      longestGap: of(({ longestGapMs }) => longestGapMs),
    },
    fromSend: { ttft: of(ttftFromSendMs), e2e: of(e2eFromSendMs) },
    ...{ lag, generator },
    tokens: {
      ...{ prompt, completion, cached: total(ok, ({ cachedTokens }) => cachedTokens) },
      parts: total(ok, ({ parts }) => parts),
      withoutUsage: ok.filter(({ completionTokens }) => completionTokens === 0).length,
      contradicting: ok.filter(
        ({ completionTokens, parts }) => completionTokens > 0 && parts > completionTokens,
      ).length,
    },
    ...(good !== undefined && slo && { good: goodShare(good, records, slo) }),
    invalid: faultsOf(counts, lag, generator, lagLimitMs),
  };
}

/** Of what was cut off only what had missed the SLO by then is known. */
function goodShare(good: number, records: readonly RequestRecord[], slo: Slo): Share {
  const known = records.filter((record) => record.outcome !== 'cancelled' || isMissed(record, slo));
  return wilsonInterval(good, known.length);
}

function faultsOf({ ok }: Counts, lag: Distribution, generator: GeneratorHealth, limitMs: number): string[] {
  const late = (what: string, ms: number) =>
    `${what}: 1 % are later than ${ms.toFixed(1)} ms (limit ${limitMs} ms)`;
  return [
    ...((lag.p99 ?? 0) > limitMs ? [late('requests were not sent in time', lag.p99 ?? 0)] : []),
    ...(generator.loopLagMs > limitMs ? [late('the load process was held up', generator.loopLagMs)] : []),
    ...(ok === 0 ? ['no request was answered'] : []),
  ];
}
