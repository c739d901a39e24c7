/** Rows of one segment, `[layers][keys, values][kvHeads][tokens][headDim]`. */
export interface SegmentRows {
  readonly tokens: number;
  readonly rows: Float32Array;
}

export interface AttentionShape {
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

const KEY = 0;
const VALUE = 1;

/** The parts of a span that are taken from its compressed form. */
export const PARTS = ['keys', 'values', 'both'] as const;

function offset(shape: AttentionShape, tokens: number, layer: number, part: number, kvHead: number): number {
  return ((layer * 2 + part) * shape.kvHeads + kvHead) * tokens * shape.headDim;
}

/** Rows in another order, or some of them. */
export function selectRows(shape: AttentionShape, from: SegmentRows, order: readonly number[]): SegmentRows {
  const { headDim } = shape;
  const units = shape.layers * 2 * shape.kvHeads;
  const rows = new Float32Array(units * order.length * headDim);
  for (let unit = 0; unit < units; unit++) {
    for (const [to, row] of order.entries()) {
      const start = (unit * from.tokens + row) * headDim;
      rows.set(from.rows.subarray(start, start + headDim), (unit * order.length + to) * headDim);
    }
  }
  return { tokens: order.length, rows };
}

/** Segments one behind the other as one. */
export function joinRows(shape: AttentionShape, segments: readonly SegmentRows[]): SegmentRows {
  const tokens = segments.reduce((sum, segment) => sum + segment.tokens, 0);
  const units = shape.layers * 2 * shape.kvHeads;
  const rows = new Float32Array(units * tokens * shape.headDim);
  let at = 0;
  for (let unit = 0; unit < units; unit++) {
    for (const segment of segments) {
      const floats = segment.tokens * shape.headDim;
      rows.set(segment.rows.subarray(unit * floats, (unit + 1) * floats), at);
      at += floats;
    }
  }
  return { tokens, rows };
}

/**
 * Attention output of one query row in one layer, heads side by side, `[heads * headDim]`: softmax over the
 * first `seen` rows, in double precision.
 *
 * @param queries of the layer, `[heads][headDim]`
 */
export function attend(
  shape: AttentionShape,
  layer: number,
  queries: Float32Array,
  keys: SegmentRows,
  values: SegmentRows,
  seen: number,
): Float64Array {
  const { heads, kvHeads, headDim } = shape;
  const out = new Float64Array(heads * headDim);
  const weights = new Float64Array(seen);
  for (let head = 0; head < heads; head++) {
    const kvHead = Math.floor((head * kvHeads) / heads);
    const keyAt = offset(shape, keys.tokens, layer, KEY, kvHead);
    const valueAt = offset(shape, values.tokens, layer, VALUE, kvHead);
    let top = -Infinity;
    for (let row = 0; row < seen; row++) {
      let dot = 0;
      for (let channel = 0; channel < headDim; channel++) {
        dot += (queries[head * headDim + channel] ?? 0) * (keys.rows[keyAt + row * headDim + channel] ?? 0);
      }
      weights[row] = dot / Math.sqrt(headDim);
      top = Math.max(top, weights[row] ?? 0);
    }
    let sum = 0;
    for (let row = 0; row < seen; row++) {
      const weight = Math.exp((weights[row] ?? 0) - top);
      sum += weight;
      for (let channel = 0; channel < headDim; channel++) {
        const at = head * headDim + channel;
        out[at] = (out[at] ?? 0) + weight * (values.rows[valueAt + row * headDim + channel] ?? 0);
      }
    }
    for (let channel = 0; channel < headDim; channel++) {
      const at = head * headDim + channel;
      out[at] = (out[at] ?? 0) / sum;
    }
  }
  return out;
}

export function cosine(a: Float64Array, b: Float64Array): number {
  let [dot, lengthA, lengthB] = [0, 0, 0];
  for (let at = 0; at < a.length; at++) {
    const [x, y] = [a[at] ?? 0, b[at] ?? 0];
    dot += x * y;
    lengthA += x * x;
    lengthB += y * y;
  }
  return dot / Math.sqrt(lengthA * lengthB);
}
