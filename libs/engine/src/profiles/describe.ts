import { readFile } from 'node:fs/promises';
import { setImmediate as othersTurn } from 'node:timers/promises';
import { KvcError } from '@kvcapsule/contracts';
import { z } from 'zod';
import { type Layout, type LayoutDescription, readLayouts } from './layouts.js';
import { readHeader, tensorNumbers, type SafetensorsHeader } from './safetensors.js';

/** Squared error of the best uniform quantiser of a unit Gaussian, by bits; as in native/src/kv/codec/packed. */
const GAUSSIAN_ERRORS = [
  1, 0.36338, 0.118846, 0.0374397, 0.0115429, 0.00349521, 0.00104005, 0.000304333, 0.0000876862,
];
const HEADER_BYTES = 64;
const UNIT_BYTES = 4;
/** Of rows as a profile of masks stores them. */
const ROW_BITS = 16;

/** One layer's keys or values, all KV heads together. */
export interface PartDescription {
  readonly layer: number;
  readonly part: 'keys' | 'values';
  /** Coefficient rows stored (of a picture like the mean one) as a share of n. */
  readonly retention: number;
  /** Of a stored row, a channel. */
  readonly bitsPerRow: number;
  /** Of a capsule: rows and their scale levels. */
  readonly bytes: number;
  /** Squared error expected, as a share of the variance about the template; 0 where it is not known. */
  readonly error: number;
  /** Deviations of coefficient rows, strongest first. */
  readonly spectrum: readonly number[];
}

export interface ProfileDetails {
  readonly metadata: Readonly<Record<string, string>>;
  /** Rows a capsule covers; of the largest layout where there are several. */
  readonly tokens: number;
  readonly codec: string;
  /** None in a profile of one grid. */
  readonly layouts: readonly LayoutDescription[];
  /** Of a capsule of the largest layout. */
  readonly parts: readonly PartDescription[];
}

/** Capsules of one number of rows. */
export interface CapsuleDescription {
  readonly tokens: number;
  /** Each picture's rows get bits by what they hold: the parts are those of a picture like the mean one. */
  readonly choosesBits: boolean;
  readonly parts: readonly PartDescription[];
}

interface PartRows {
  readonly layer: number;
  readonly part: 'keys' | 'values';
  readonly sensitivity: number;
  readonly deviations: readonly number[];
  readonly spectrum: readonly number[];
  bits: readonly number[];
}

const countsSchema = z.object({
  n: z.coerce.number().int().positive(),
  layers: z.coerce.number().int().positive().max(4096),
  kv_heads: z.coerce.number().int().positive().max(4096),
  head_dim: z.coerce.number().int().positive().max(4096),
  bytes: z.coerce.number().int().nonnegative().default(0),
});
type Counts = z.infer<typeof countsSchema>;

const errorOf = (bits: number): number => GAUSSIAN_ERRORS[bits] ?? 0;

/** Energy over price from which a row gets its first, second, ... bit: UnitThresholds of native/src/kv/codec/packed. */
function bitThresholds(rowCost: number): readonly number[] {
  const bits = Array.from({ length: 8 }, (_, before) => before + 1);
  const first = Math.min(...bits.map((count) => (count + rowCost) / (1 - errorOf(count))));
  return bits.map((count) => Math.max(first, 1 / (errorOf(count - 1) - errorOf(count))));
}

/** Scale levels, two a byte. */
const levelBytes = ({ deviations }: Pick<PartRows, 'deviations'>): number => Math.ceil(deviations.length / 2);

/** @param sorted ascending */
function countAbove(sorted: Float64Array, least: number): number {
  let [begin, end] = [0, sorted.length];
  while (begin < end) {
    const middle = (begin + end) >> 1;
    if ((sorted[middle] ?? 0) > least) end = middle;
    else begin = middle + 1;
  }
  return sorted.length - begin;
}

/** Bits that a picture with the profile's own deviations would get. */
function fillBits(rows: readonly PartRows[], { head_dim: dim, bytes }: Counts, rowCost: number): void {
  const thresholds = bitThresholds(rowCost);
  const bitsAt = (energy: number, price: number): number =>
    thresholds.filter((threshold) => energy > price * threshold).length;
  const stored = rows.reduce((sum, row) => sum + levelBytes(row), 0);
  const room = ((bytes - HEADER_BYTES - UNIT_BYTES * rows.length - stored) * 8) / dim;
  const energies = rows.map(({ sensitivity, deviations }) =>
    deviations.map((x) => sensitivity * dim * x * x),
  );
  const sorted = Float64Array.from(energies.flat()).sort();
  let low = 0;
  let high = sorted.at(-1) ?? 0;
  const total = (price: number) =>
    thresholds.reduce((bits, threshold) => bits + countAbove(sorted, price * threshold), 0);
  for (let step = 0; step < 60; step += 1) {
    const middle = step < 40 && low > 0 ? Math.sqrt(low * high) : (low + high) / 2;
    if (total(middle) > room) low = middle;
    else high = middle;
  }
  for (const [index, row] of rows.entries())
    row.bits = (energies[index] ?? []).map((energy) => bitsAt(energy, high));
}

/** Numbers that lie kind by kind, once for every piece. */
function ofPieces(numbers: readonly number[], sizes: readonly number[], kinds: readonly number[]): number[] {
  const begins = sizes.reduce((ends, size) => [...ends, (ends.at(-1) ?? 0) + size], [0]);
  return kinds.flatMap((kind) => numbers.slice(begins[kind], begins[kind + 1]));
}

function packedRows(
  file: Buffer,
  header: SafetensorsHeader,
  counts: Counts,
  kinds?: readonly number[],
): PartRows[] {
  const groups = tensorNumbers(file, header, 'groups') ?? [];
  const extents = groups.reduce<number[]>((sizes, kind) => {
    sizes[kind] = (sizes[kind] ?? 0) + 1;
    return sizes;
  }, []);
  const rows: PartRows[] = [];
  for (let layer = 0; layer < counts.layers; layer += 1) {
    for (let head = 0; head < counts.kv_heads; head += 1) {
      for (const part of ['keys', 'values'] as const) {
        const read = (what: string) =>
          tensorNumbers(file, header, `layers.${layer}.heads.${head}.${part}.${what}`);
        const ranks = read('ranks') ?? [];
        const each = (numbers: readonly number[] | undefined, sizes: readonly number[]) =>
          numbers && kinds ? ofPieces(numbers, sizes, kinds) : numbers;
        const deviations = each(read('deviations'), ranks) ?? [];
        rows.push({
          layer,
          part,
          sensitivity: read('sensitivity')?.[0] ?? 0,
          deviations,
          spectrum: each(read('spectrum'), extents) ?? deviations,
          bits: each(read('bits'), ranks) ?? [],
        });
      }
    }
  }
  const [rowCost = 0] = tensorNumbers(file, header, 'row_cost') ?? [];
  if (counts.bytes > 0) fillBits(rows, counts, rowCost);
  return rows;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

function describePart(rows: readonly PartRows[], { n, head_dim: dim }: Counts): PartDescription {
  const [first] = rows;
  const bits = rows.flatMap((row) => row.bits);
  const stored = bits.filter((count) => count > 0).length;
  const kept = rows.flatMap(({ deviations, bits: own }) =>
    deviations.map((x, index) => x * x * (1 - errorOf(own[index] ?? 0))),
  );
  const variance = sum(rows.flatMap(({ spectrum }) => spectrum.map((x) => x * x)));
  return {
    layer: first?.layer ?? 0,
    part: first?.part ?? 'keys',
    retention: stored / (n * rows.length),
    bitsPerRow: stored > 0 ? sum(bits) / stored : 0,
    bytes: (sum(bits) * dim) / 8 + sum(rows.map(levelBytes)),
    error: variance > 0 ? 1 - sum(kept) / variance : 0,
    spectrum: rows.flatMap(({ spectrum }) => spectrum).sort((a, b) => b - a),
  };
}

/** Masks and 16-bit rows: what is kept is all there is to tell. */
function describeRows(header: SafetensorsHeader, counts: Counts): PartDescription[] {
  return Array.from({ length: counts.layers }, (_, layer) => {
    const rows = Array.from(
      { length: counts.kv_heads },
      (__, head) => header.tensors.get(`layers.${layer}.heads.${head}.mask`)?.shape[0] ?? 0,
    );
    const retention = sum(rows) / (counts.n * counts.kv_heads);
    const bytes = (sum(rows) * counts.head_dim * ROW_BITS) / 8;
    return (['keys', 'values'] as const).map((part) => ({
      ...{ layer, part, retention, bytes },
      ...{ bitsPerRow: ROW_BITS, error: 0, spectrum: [] },
    }));
  }).flat();
}

interface ProfileFile {
  readonly file: Buffer;
  readonly header: SafetensorsHeader;
  readonly counts: Counts;
  /** In the order of the engine's formats; none in a profile of one grid. */
  readonly layouts: readonly Layout[];
}

async function openProfile(path: string): Promise<ProfileFile> {
  const [file, header] = await Promise.all([readFile(path), readHeader(path)]);
  const { metadata } = header;
  const layouts = metadata['version'] === '3' ? readLayouts(file, header) : [];
  return { file, header, counts: countsSchema.parse(metadata), layouts };
}

/** Of a profile of one grid, or of one of its layouts. */
function describeCapsule({ file, header, counts: own }: ProfileFile, layout?: Layout): CapsuleDescription {
  const counts = layout ? { ...own, n: layout.tokens, bytes: layout.bytes } : own;
  const common = { tokens: counts.n, choosesBits: counts.bytes > 0 };
  if (header.metadata['version'] === '1') return { ...common, parts: describeRows(header, counts) };
  const rows = packedRows(file, header, counts, layout?.kinds);
  const parts = Array.from({ length: counts.layers }, (_, layer) =>
    (['keys', 'values'] as const).map((part) =>
      describePart(
        rows.filter((row) => row.layer === layer && row.part === part),
        counts,
      ),
    ),
  ).flat();
  return { ...common, parts };
}

/**
 * What a profile keeps, layer by layer.
 *
 * @throws KvcError PROFILE_INVALID when the file is no profile
 */
export function describeProfile(path: string): Promise<ProfileDetails> {
  return reading(path, (profile) => {
    const layouts = profile.layouts.toSorted((a, b) => b.tokens - a.tokens);
    const { tokens, parts } = describeCapsule(profile, layouts[0]);
    const { metadata } = profile.header;
    return {
      ...{ metadata, tokens, codec: metadata['codec'] ?? 'capsule', parts },
      layouts: layouts.map(({ name, tokens: rows, bytes }) => ({ name, tokens: rows, bytes })),
    };
  });
}

/**
 * The capsules that a profile is for, in the order of an engine's formats. Other work gets its turn between them.
 *
 * @throws KvcError PROFILE_INVALID when the file is no profile
 */
export function describeCapsules(path: string): Promise<CapsuleDescription[]> {
  return reading(path, async (profile) => {
    if (profile.layouts.length === 0) return [describeCapsule(profile)];
    const capsules: CapsuleDescription[] = [];
    for (const layout of profile.layouts) {
      capsules.push(describeCapsule(profile, layout));
      await othersTurn();
    }
    return capsules;
  });
}

async function reading<T>(path: string, read: (profile: ProfileFile) => T | Promise<T>): Promise<T> {
  try {
    return await read(await openProfile(path));
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
    throw new KvcError('PROFILE_INVALID', `profile ${path}: it cannot be read as a profile (${reason})`, {
      cause,
    });
  }
}
