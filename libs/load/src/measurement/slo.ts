import { KvcError } from '@kvcapsule/contracts';
import { e2eMs, isOk, meanGapMs, type RequestRecord, tpotMs, ttftMs } from './request-record.js';

/** What a request is bounded by. `itl` is the mean time between its pieces of text, `gap` the longest one. */
export const SLO_METRICS = {
  ttft: ttftMs,
  itl: meanGapMs,
  gap: ({ longestGapMs }: RequestRecord) => longestGapMs,
  tpot: tpotMs,
  e2e: e2eMs,
} as const;

export type SloMetric = keyof typeof SLO_METRICS;
/** Most ms by metric; a request is good when it is answered and within all of them. */
export type Slo = Readonly<Partial<Record<SloMetric, number>>>;

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

/**
 * `500ms`, `1.5s`, `2m`, `1h`.
 *
 * @throws KvcError CONFIG_INVALID naming the flag
 */
export function parseDurationMs(flag: string, text: string): number {
  const found = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text.trim());
  const ms = found ? Number(found[1]) * UNITS[found[2] as keyof typeof UNITS] : Number.NaN;
  if (!(ms <= 7 * 24 * UNITS.h))
    throw new KvcError(
      'CONFIG_INVALID',
      `${flag}: ${text} is no time such as 500ms, 30s or 5m, of a week at most`,
    );
  return ms;
}

const isMetric = (name: string): name is SloMetric => Object.hasOwn(SLO_METRICS, name);

/**
 * `ttft=500ms,itl=50ms`.
 *
 * @throws KvcError CONFIG_INVALID naming what is wrong
 */
export function parseSlo(text: string): Slo {
  const bounds = text.split(',').map((item) => {
    const [name = '', bound = ''] = item.split('=');
    if (!isMetric(name.trim()))
      throw new KvcError(
        'CONFIG_INVALID',
        `--slo: ${item} bounds none of ${Object.keys(SLO_METRICS).join(', ')}, as ttft=500ms,itl=50ms does`,
      );
    return [name.trim(), parseDurationMs('--slo', bound)] as const;
  });
  return Object.fromEntries(bounds);
}

/** A request that was cut off at the end, and had waited longer than it was to by then. */
export function isMissed(record: RequestRecord, { ttft = Infinity, e2e = Infinity }: Slo): boolean {
  return record.outcome === 'cancelled' && (ttftMs(record) > ttft || e2eMs(record) > e2e);
}

/** An answer of one piece has no time between pieces, and no bound on it can be missed. */
export function isGood(record: RequestRecord, slo: Slo): boolean {
  if (!isOk(record)) return false;
  return Object.entries(slo).every(([name, most]) => !(SLO_METRICS[name as SloMetric](record) > most));
}
