import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { wilsonInterval } from '../statistics/index.js';
import {
  distributionOf,
  GapHistogram,
  isGood,
  meanGapMs,
  parseDurationMs,
  parseSlo,
  quantileOf,
  Recorder,
  type RequestRecord,
  sortedOf,
  summarize,
  tpotMs,
  ttftMs,
} from './index.js';

const RECORD: RequestRecord = {
  ...{
    conversation: 0,
    turn: 0,
    pictures: 0,
    intendedMs: 100,
    sentMs: 110,
    firstMs: 300,
    lastMs: 900,
    endMs: 950,
  },
  ...{ outcome: 'ok', parts: 4, longestGapMs: 400, promptTokens: 7, cachedTokens: 0, completionTokens: 7 },
};
const HEALTHY = { loopLagMs: 1, cpuSeconds: 1 };

describe('times of a request', () => {
  it('count from when it was to be sent', () => {
    expect(ttftMs(RECORD)).toBe(200);
    expect(meanGapMs(RECORD)).toBe(200);
    expect(tpotMs(RECORD)).toBe(100);
  });

  it('of an answer without text end where it does', () => {
    const { conversation, turn, pictures, intendedMs, sentMs, endMs } = RECORD;
    const known = { conversation, turn, pictures, intendedMs, sentMs, endMs };
    const silent = { ...known, ...{ outcome: 'ok', parts: 0, longestGapMs: 0 } };
    const record = { ...silent, promptTokens: 7, cachedTokens: 0, completionTokens: 1 };
    expect(ttftMs(record)).toBe(850);
    expect(tpotMs(record)).toBeNaN();
  });
});

describe('an SLO', () => {
  it('is read', () => {
    expect(parseSlo('ttft=500ms, itl=0.05s')).toEqual({ ttft: 500, itl: 50 });
    expect(['250ms', '1.5s', '2m', '1h'].map((text) => parseDurationMs('--x', text))).toEqual([
      250, 1_500, 120_000, 3_600_000,
    ]);
    for (const text of ['', 'ttft', 'ttft=5', 'speed=5ms', 'constructor=5ms', 'ttft=-5ms', 'ttft=9999h'])
      expect(() => parseSlo(text), text).toThrow('--slo');
  });

  it.each([
    ['ttft=200ms', true],
    ['ttft=199ms', false],
    ['itl=200ms', true],
    ['gap=399ms', false],
    ['tpot=100ms,e2e=850ms', true],
    ['tpot=100ms,e2e=849ms', false],
  ])('%s holds: %s', (text, holds) => {
    expect(isGood(RECORD, parseSlo(text))).toBe(holds);
    expect(isGood({ ...RECORD, outcome: 'broken_off' }, parseSlo(text))).toBe(false);
  });
});

describe('percentiles', () => {
  const times = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 300 });

  it('are times that were measured, and as many do not exceed them as they say', () => {
    fc.assert(
      fc.property(times, fc.double({ min: 0, max: 1, noNaN: true }), (values, share) => {
        const sorted = sortedOf(values);
        const at = quantileOf(sorted, share);
        expect(values).toContain(at);
        expect(values.filter((value) => value <= at).length).toBeGreaterThanOrEqual(share * values.length);
        expect(values.filter((value) => value < at).length).toBeLessThanOrEqual(
          Math.max(0, share * values.length),
        );
      }),
      { seed: 15 },
    );
  });

  it('ascend, and leave out what is no number', () => {
    const { p50, p90, p99, most, count } = distributionOf([3, Number.NaN, 1, 2]);
    expect([p50, p90, p99, most, count]).toEqual([2, 3, 3, 3, 3]);
    expect(distributionOf([])).toMatchObject({ count: 0, mean: null, p50: null, most: null });
  });

  it('of gaps are within a thousandth of the exact ones, merged or not', () => {
    fc.assert(
      fc.property(times, times, (a, b) => {
        const [one, other, whole] = [new GapHistogram(), new GapHistogram(), new GapHistogram()];
        for (const ms of a) one.record(ms);
        for (const ms of b) other.record(ms);
        for (const ms of [...a, ...b]) whole.record(ms);
        one.add(GapHistogram.decode(other.encode()));
        const sorted = sortedOf([...a, ...b]);
        for (const share of [0.01, 0.5, 0.9, 0.99, 1]) {
          expect(one.quantileMs(share)).toBe(whole.quantileMs(share));
          const exact = quantileOf(sorted, share);
          expect(Math.abs(one.quantileMs(share) - exact)).toBeLessThanOrEqual(0.001 + exact / 500);
        }
        expect(one.count).toBe(sorted.length);
        expect(one.encode()).toBe(whole.encode());
      }),
      { seed: 15 },
    );
  });

  it('are refused from what is no histogram', () => {
    expect(() => GapHistogram.decode('bm8=')).toThrow('no histogram');
  });
});

describe('a summary', () => {
  const summaryOf = (records: readonly RequestRecord[], health = HEALTHY) => {
    const recorder = new Recorder(0);
    for (const record of records) recorder.take(record, [200, 200, 200]);
    return summarize(recorder.measured(), health, 25, { ttft: 200 });
  };

  it('counts rates over the span of the requests, and tokens as the server does', () => {
    const late = { ...RECORD, intendedMs: 1_100, sentMs: 1_100, firstMs: 1_400, lastMs: 2_000, endMs: 2_100 };
    const { perSecond, seconds, tokens, good, counts } = summaryOf([
      RECORD,
      late,
      { ...RECORD, outcome: 'connect' },
    ]);
    expect(seconds).toBe(2);
    expect(perSecond).toMatchObject({ requests: 1, outputTokens: 7, promptTokens: 7, good: 0.5 });
    expect(tokens).toMatchObject({ completion: 14, parts: 8, withoutUsage: 0, contradicting: 0 });
    expect(good).toMatchObject({ hits: 1, trials: 3 });
    expect(counts).toEqual({ started: 3, ok: 2, cancelled: 0, errors: { connect: 1 } });
  });

  it('says so when server and stream contradict each other', () => {
    const { tokens } = summaryOf([
      { ...RECORD, completionTokens: 3 },
      { ...RECORD, completionTokens: 0 },
    ]);
    expect(tokens).toMatchObject({ withoutUsage: 1, contradicting: 1, completion: 7 });
  });

  it('counts what was cut off as missed where it had waited too long, and not at all otherwise', () => {
    const cut = { ...RECORD, outcome: 'cancelled', firstMs: 350 };
    expect(summaryOf([RECORD, cut]).good).toMatchObject({ hits: 1, trials: 2 });
    expect(summaryOf([RECORD, { ...cut, firstMs: 250 }]).good).toMatchObject({ hits: 1, trials: 1 });
  });

  it('is invalid when the generator could not keep up, or nothing was answered', () => {
    expect(summaryOf([RECORD]).invalid).toEqual([]);
    expect(summaryOf([{ ...RECORD, sentMs: 126 }]).invalid).toEqual([
      expect.stringContaining('not sent in time'),
    ]);
    expect(summaryOf([RECORD], { ...HEALTHY, loopLagMs: 30 }).invalid).toEqual([
      expect.stringContaining('held up'),
    ]);
    expect(summaryOf([]).invalid).toEqual(['no request was answered']);
  });

  it('keeps kinds of errors to a number', () => {
    const { counts } = summaryOf(
      Array.from({ length: 200 }, (_, at) => ({ ...RECORD, outcome: `http_${at}` })),
    );
    expect(Object.keys(counts.errors).length).toBe(65);
    expect(counts.errors['other']).toBe(200 - 64);
  });
});

describe('Wilson’s interval', () => {
  it('is the textbook’s', () => {
    const { low, high } = wilsonInterval(90, 100);
    expect(low).toBeCloseTo(0.8256, 4);
    expect(high).toBeCloseTo(0.9448, 4);
  });

  it('holds the share, within 0 and 1, and narrows with trials', () => {
    fc.assert(
      fc.property(fc.nat(500), fc.nat(500), (a, b) => {
        const one = wilsonInterval(Math.min(a, b), Math.max(a, b));
        const more = wilsonInterval(10 * Math.min(a, b), 10 * Math.max(a, b));
        expect(one.low).toBeLessThanOrEqual(one.share);
        expect(one.high).toBeGreaterThanOrEqual(one.share);
        expect(one.low >= 0 && one.high <= 1).toBe(true);
        expect(more.high - more.low).toBeLessThanOrEqual(one.high - one.low);
      }),
      { seed: 15 },
    );
  });
});
