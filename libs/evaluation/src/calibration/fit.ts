import { KvcError } from '@kvcapsule/contracts';
import {
  type Engine,
  type PackedFitOptions,
  PROFILE_FORMAT,
  sealProfile,
  verifyProfile,
} from '@kvcapsule/engine';
import type { Grid } from './grids.js';
import type { PackedCalibration } from './packed.js';
import { cutPieces, madeOf } from './pieces.js';
import { packedProfilePath, withEnding } from './retention.js';

/** What a packed profile is fitted with; the rest follows from the pictures. */
export interface PackedChoices {
  readonly fit: Pick<
    PackedFitOptions,
    | 'codec'
    | 'keyTemplate'
    | 'valueTemplate'
    | 'rotate'
    | 'weighRows'
    | 'basis'
    | 'allocation'
    | 'bits'
    | 'candidates'
    | 'rowCost'
  >;
  /** Each grid by itself, in tiles or whole; or all of them from tiles that they have in common. */
  readonly groups: 'tiles' | 'whole' | 'pooled';
  /**
   * What a unit of squared error costs: measured, the same in all parts, or given, `[layer][keys, values]`. Only
   * the numbers' ratios count.
   */
  readonly sensitivity: 'measured' | 'equal' | readonly number[];
  /** How many times smaller than raw 16-bit rows, markers included. */
  readonly ratios: readonly number[];
}

/** Profiles are for pools of 16-bit rows, whatever is calibrated with. */
const PROFILE_ROW_BYTES = 2;
/** A picture that rounding to whole pages would leave less than this of what it may have takes one page more. */
const LEAST_SHARE = 0.75;

/** Group of each row: one a tile of image tokens that follow each other and one for all markers, or one in all. */
export function rowGroups(
  picture: readonly number[],
  imageTokenId: number,
  kind: 'tiles' | 'whole',
): Int32Array {
  if (kind === 'whole') return new Int32Array(picture.length);
  let tiles = 0;
  let markers = false;
  const groups = picture.map((token, row) => {
    if (token !== imageTokenId) markers = true;
    else if (picture[row - 1] !== imageTokenId) tiles += 1;
    return token === imageTokenId ? tiles - 1 : -1;
  });
  return Int32Array.from(groups, (group) => (group === -1 && markers ? tiles : group));
}

/** Bytes of the whole pages that a capsule of so many tokens takes, so many times smaller than raw rows. */
export function capsuleBytes(
  { layers, kvHeads, headDim, blockTokens, pagesPerBlock }: Engine['info'],
  tokens: number,
  ratio: number,
): number {
  const tokenBytes = 2 * layers * kvHeads * headDim * PROFILE_ROW_BYTES;
  const pageBytes = (tokenBytes * blockTokens) / pagesPerBlock;
  const pages = (tokens * tokenBytes) / ratio / pageBytes;
  return pageBytes * (Math.floor(pages) < LEAST_SHARE * pages ? Math.ceil(pages) : Math.floor(pages));
}

/** `[layer][KV head][keys, values]`, or none where all cost the same. */
async function sensitivitiesOf(
  calibration: PackedCalibration,
  { sensitivity }: PackedChoices,
  { layers, kvHeads }: { readonly layers: number; readonly kvHeads: number },
  report: (line: string) => void,
): Promise<Float64Array> {
  if (sensitivity === 'equal') return new Float64Array();
  if (sensitivity === 'measured') {
    return calibration.sensitivities((done, of) => {
      report(`errors ${done}/${of}`);
    });
  }
  if (sensitivity.length !== 2 * layers) {
    const wanted = `${2 * layers} numbers, of keys and of values of each layer`;
    throw new KvcError(
      'CONFIG_INVALID',
      `--sensitivities: ${sensitivity.length} numbers instead of ${wanted}`,
    );
  }
  const partOf = (index: number) => 2 * Math.floor(index / 2 / kvHeads) + (index % 2);
  return Float64Array.from({ length: 2 * layers * kvHeads }, (_, index) => sensitivity[partOf(index)] ?? 0);
}

/** Where a fit's profiles go and what they are fitted with. */
interface FitTarget {
  readonly path: string;
  readonly ratio: number;
  readonly choices: PackedChoices;
  readonly sensitivities: Float64Array;
  readonly metadata: Readonly<Record<string, string>>;
}

class ProfileWriter {
  constructor(
    private readonly engine: Engine,
    private readonly calibration: PackedCalibration,
    private readonly report: (line: string) => void,
  ) {}

  /** One grid's own profile. */
  async writeGrid(grid: Grid, { path, ratio, choices, sensitivities, metadata }: FitTarget): Promise<string> {
    const { engine } = this;
    const { imageTokenId } = engine.info;
    const kind = choices.groups === 'whole' ? 'whole' : 'tiles';
    const bytes = capsuleBytes(engine.info, grid.tokens.length, ratio);
    await engine.calibration.fitPacked({
      ...choices.fit,
      groups: rowGroups(grid.tokens, imageTokenId, kind),
      markerRows: Int32Array.from([...grid.tokens.keys()].filter((row) => grid.tokens[row] !== imageTokenId)),
      bytes,
      sensitivities,
      path,
      metadata: { ...metadata, grid: grid.name, pictures: String(grid.pictures) },
    });
    await this.#seal(path, grid.tokens.length);
    this.report(
      `${path}: ${grid.name}, n = ${grid.tokens.length}, ${grid.pictures} pictures, ${this.#pages(bytes)} pages a capsule`,
    );
    return path;
  }

  /** One profile of several grids, from what all pictures have in common; undefined when it would serve none. */
  async writePooled(
    grids: readonly Grid[],
    { path, ratio, choices, sensitivities, metadata }: FitTarget,
  ): Promise<string | undefined> {
    const { engine, calibration } = this;
    const { imageTokenId } = engine.info;
    const seen = calibration.grids.seen.map(({ tokens }) => tokens);
    const served = grids.filter(({ tokens }) => madeOf(tokens, seen, imageTokenId));
    if (served.length === 0) return undefined;
    const others = calibration.grids.seen.filter((grid) => !served.includes(grid));
    const laid = [...served, ...others];
    const { layouts, ...pieces } = cutPieces(
      laid.map(({ tokens }) => tokens),
      imageTokenId,
    );
    let end = 0;
    await engine.calibration.fitPieces({
      ...choices.fit,
      ...pieces,
      layouts: Int32Array.from(layouts.flat()),
      layoutBegins: Int32Array.from([0, ...layouts.map(({ length }) => (end += length))]),
      layoutBytes: Int32Array.from(laid, (grid) =>
        served.includes(grid) ? capsuleBytes(engine.info, grid.tokens.length, ratio) : 0,
      ),
      sensitivities,
      path,
      metadata: {
        ...metadata,
        grids: served.map(({ name }) => name).join(','),
        pictures: String(calibration.grids.pictures),
      },
    });
    await this.#seal(path);
    this.report(
      `${path}: ${served.map(({ name }) => name).join(', ')} from pooled tiles of ${calibration.grids.pictures} pictures`,
    );
    return path;
  }

  async #seal(path: string, tokens?: number): Promise<void> {
    const { modelRevision, info } = this.engine;
    await sealProfile(path);
    await verifyProfile(path, { modelRevision, ...info, ...(tokens !== undefined && { tokens }) });
  }

  #pages(bytes: number): number {
    const { layers, kvHeads, headDim, blockTokens, pagesPerBlock } = this.engine.info;
    return bytes / ((2 * layers * kvHeads * headDim * PROFILE_ROW_BYTES * blockTokens) / pagesPerBlock);
  }
}

/**
 * Fits profiles for each ratio: one a grid that has enough pictures, and one of what all have in common for the other
 * grids that the model's pictures can have.
 *
 * @returns the files written
 */
export async function fitPacked(
  calibration: PackedCalibration,
  engine: Engine,
  choices: PackedChoices,
  source: { readonly out: string; readonly pictures: string },
  report: (line: string) => void,
): Promise<string[]> {
  const { layers, kvHeads, headDim } = engine.info;
  const sensitivities = await sensitivitiesOf(calibration, choices, { layers, kvHeads }, report);
  await calibration.release();
  const { grids } = calibration;
  if (grids.pictures === 0) throw new KvcError('CONFIG_INVALID', '--images: no picture can be fitted');
  const writer = new ProfileWriter(engine, calibration, report);
  const fitted = choices.groups === 'pooled' ? [] : grids.fitted;
  const rest = grids.all.filter((grid) => !fitted.includes(grid));
  const paths: string[] = [];
  for (const ratio of choices.ratios) {
    const out = packedProfilePath(source.out, ratio, choices.ratios.length > 1);
    const metadata = {
      format: PROFILE_FORMAT,
      model_revision: engine.modelRevision,
      layers: String(layers),
      kv_heads: String(kvHeads),
      head_dim: String(headDim),
      source: source.pictures,
      ratio: String(ratio),
      groups: choices.groups,
      key_template: choices.fit.keyTemplate,
      value_template: choices.fit.valueTemplate,
      basis: choices.fit.basis,
      allocation: choices.fit.allocation,
    };
    const target = (ending: string): FitTarget => ({
      ...{ ratio, choices, sensitivities, metadata },
      path: withEnding(out, ending, ending !== ''),
    });
    for (const [at, grid] of fitted.entries())
      paths.push(await writer.writeGrid(grid, target(at === 0 ? '' : grid.name)));
    const pooled = await writer.writePooled(rest, target(fitted.length > 0 ? 'pooled' : ''));
    if (pooled !== undefined) paths.push(pooled);
  }
  return paths;
}
