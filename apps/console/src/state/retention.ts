import type { ClusterFormat } from '@kvcapsule/contracts/cluster';

const RAW_BITS = 16;

/** Keys or values of a layer, as a picture's are stored. */
export interface PartKept {
  readonly bytes: number;
  /** A value. */
  readonly bits: number;
  /** Expected share of the variance; null where nobody has measured it. */
  readonly energy: number | null;
}

export interface Retention {
  /** Tokens that a codec has stored. */
  readonly tokens: number;
  /** Of the picture, beside them. */
  readonly rawTokens: number;
  /** Layers are those of a picture like the mean one. */
  readonly isMean: boolean;
  readonly layers: readonly { readonly keys: PartKept; readonly values: PartKept }[];
}

type Part = ClusterFormat['layers'][number]['keys'];

const kept = ({ bytes, raw_bytes: raw, kept_energy: energy }: Part, rows: number): PartKept => {
  return { bytes: bytes * rows, bits: raw > 0 ? (RAW_BITS * bytes) / raw : 0, energy };
};

const sumOf = ({ layers }: ClusterFormat): number =>
  layers.reduce((sum, { keys, values }) => sum + keys.raw_bytes + values.raw_bytes, 0);

/**
 * How each layer of one picture is kept; undefined where the worker has no format that fits.
 *
 * @param rawBytes of the whole picture as 16-bit rows
 */
export function retentionOf(
  formats: readonly ClusterFormat[],
  codec: string,
  rawBytes: number,
): Retention | undefined {
  const [first] = formats;
  if (!first) return undefined;
  const tokens = Math.round((rawBytes * Math.max(1, first.tokens)) / sumOf(first));
  if (codec === 'raw') return asRaw(first, tokens);
  const format = formats.findLast((each) => each.codec === codec && fits(each, tokens));
  if (!format) return undefined;
  const stored = format.tokens || tokens;
  const rows = format.tokens > 0 ? 1 : tokens;
  return {
    ...{ tokens: stored, rawTokens: tokens - stored, isMean: format.varies },
    layers: format.layers.map(({ keys, values }) => ({ keys: kept(keys, rows), values: kept(values, rows) })),
  };
}

const fits = (format: ClusterFormat, tokens: number): boolean =>
  format.tokens === 0 || (format.covers_markers ? format.tokens === tokens : format.tokens <= tokens);

function asRaw(format: ClusterFormat, tokens: number): Retention {
  const whole = ({ raw_bytes: raw }: Part): PartKept => {
    const bytes = (raw * tokens) / Math.max(1, format.tokens);
    return { bytes, bits: RAW_BITS, energy: 1 };
  };
  return {
    ...{ tokens: 0, rawTokens: tokens, isMean: false },
    layers: format.layers.map(({ keys, values }) => ({ keys: whole(keys), values: whole(values) })),
  };
}
