import { KvcError } from '@kvcapsule/contracts';
import * as hdr from 'hdr-histogram-js';

/** An hour: nothing between two pieces of an answer takes longer. */
const MOST_MICROSECONDS = 3_600_000_000;
const US_PER_MS = 1_000;

/**
 * Times between tokens: there are as many as tokens, so they are counted in buckets of three significant digits
 * (HdrHistogram) in place of being kept. Buckets add up, so histograms of processes merge exactly.
 */
export class GapHistogram {
  readonly #buckets: hdr.Histogram;

  constructor(
    buckets: hdr.Histogram = hdr.build({
      ...{
        lowestDiscernibleValue: 1,
        highestTrackableValue: MOST_MICROSECONDS,
        numberOfSignificantValueDigits: 3,
      },
      useWebAssembly: false,
    }),
  ) {
    this.#buckets = buckets;
  }

  /** @throws KvcError CONFIG_INVALID for what `encode` has not made */
  static decode(text: string): GapHistogram {
    try {
      return new GapHistogram(hdr.decodeFromCompressedBase64(text, 32, false));
    } catch (cause) {
      throw new KvcError('CONFIG_INVALID', 'no histogram', { cause });
    }
  }

  get count(): number {
    return this.#buckets.totalCount;
  }

  get meanMs(): number {
    return this.count === 0 ? Number.NaN : this.#buckets.mean / US_PER_MS;
  }

  record(ms: number): void {
    this.#buckets.recordValue(Math.min(MOST_MICROSECONDS, Math.max(0, Math.round(ms * US_PER_MS))));
  }

  /** Ms that at least this share of all do not exceed; NaN of none. */
  quantileMs(share: number): number {
    return this.count === 0 ? Number.NaN : this.#buckets.getValueAtPercentile(100 * share) / US_PER_MS;
  }

  get leastMs(): number {
    return this.count === 0 ? Number.NaN : this.#buckets.minNonZeroValue / US_PER_MS;
  }

  get mostMs(): number {
    return this.count === 0 ? Number.NaN : this.#buckets.maxValue / US_PER_MS;
  }

  add(other: GapHistogram): void {
    this.#buckets.add(other.#buckets);
  }

  encode(): string {
    return hdr.encodeIntoCompressedBase64(this.#buckets);
  }
}
