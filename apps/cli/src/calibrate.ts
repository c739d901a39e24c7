import { createHash } from 'node:crypto';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openEngine, PROFILE_FORMAT, sealProfile, verifyProfile, type Engine } from '@kvcapsule/engine';
import type { Command } from 'commander';
import { checkOutput } from './output.js';
import { calibrationPictures, type RgbPicture } from './calibrate-pictures.js';
import { openPromptMaker, type PromptMaker } from './calibrate-prompt.js';
import { CALIBRATE_HELP, type CalibrateFlags, calibrateOptions } from './calibrate-flags.js';
import { fitPacked, type PackedChoices } from './calibrate-fit.js';
import { PackedCalibration, POOL_BLOCKS } from './calibrate-packed.js';
import { type Grid, Grids } from './calibrate-grids.js';
import { layerRetention, profilePath, type Schedule, withEnding } from './calibrate-retention.js';
import { BatchRunner, PICTURE_SEGMENT } from './calibrate-runner.js';
import { coveredRows, type PicturePrompt } from './step-plan.js';

export interface CalibrateOptions {
  readonly model: string;
  /** A folder, or `scenes:SEED`. */
  readonly images: string;
  readonly out: string;
  readonly count: number;
  readonly threads: number;
  /** Folder where what is gathered from the pictures stays for later fits; else it goes when this one is done. */
  readonly statistics?: string;
  readonly fit:
    | { readonly kind: 'rows'; readonly retentions: readonly number[]; readonly schedule: Schedule }
    | { readonly kind: 'packed'; readonly choices: PackedChoices };
}

type RowsFit = Extract<CalibrateOptions['fit'], { kind: 'rows' }>;

const BATCH_PICTURES = 8;
const STEP_TOKENS = 4096;

async function encode(engine: Engine, prompts: PromptMaker, picture: RgbPicture): Promise<PicturePrompt> {
  const image = await engine.encodeImage(picture.rgb, picture.width, picture.height);
  const { prefix, picture: tokens } = await prompts.cut(picture, '');
  return { prefix, picture: tokens, imageHandle: image.handle };
}

/** All pictures' visual rows into the engine's statistics; the grids they have. */
async function accumulate(
  engine: Engine,
  prompts: PromptMaker,
  pictures: AsyncIterable<RgbPicture>,
  onProgress: (done: number) => void,
): Promise<Grids> {
  const { imageTokenId } = engine.info;
  const runner = new BatchRunner(engine, POOL_BLOCKS);
  const grids = new Grids(prompts.spans());
  let done = 0;
  let batch: PicturePrompt[] = [];
  const flush = async () => {
    if (batch.length === 0) return;
    await runner.prefill(batch);
    for (const [slot, { picture, imageHandle }] of batch.entries()) {
      const grid = grids.find(picture);
      if (grid !== undefined) {
        await engine.addToGram(slot, PICTURE_SEGMENT, Int32Array.from(coveredRows(picture, imageTokenId)));
        grid.pictures += 1;
      }
      await engine.releaseImage(imageHandle);
    }
    runner.close();
    done += batch.length;
    batch = [];
    onProgress(done);
  };
  for await (const picture of pictures) {
    batch.push(await encode(engine, prompts, picture));
    if (batch.length === BATCH_PICTURES) await flush();
  }
  await flush();
  return grids;
}

/** A folder's name says nothing to others and may say too much. */
function sourceName({ images }: CalibrateOptions): string {
  return images.startsWith('scenes:') ? images : 'folder';
}

function profileMetadata(
  engine: Engine,
  options: CalibrateOptions,
  fit: RowsFit,
  fitted: {
    readonly tokens: number;
    readonly grid: Grid;
    readonly retention: Float32Array;
  },
): Record<string, string> {
  const { layers, kvHeads, headDim } = engine.info;
  return {
    format: PROFILE_FORMAT,
    version: '1',
    model_revision: engine.modelRevision,
    n: String(fitted.tokens),
    layers: String(layers),
    kv_heads: String(kvHeads),
    head_dim: String(headDim),
    retention: Array.from(fitted.retention, (share) => share.toFixed(4)).join(','),
    schedule: fit.schedule,
    grid: fitted.grid.name,
    pictures: String(fitted.grid.pictures),
    source: sourceName(options),
  };
}

async function writeProfile(
  engine: Engine,
  options: CalibrateOptions,
  fit: RowsFit,
  grid: Grid,
  file: { readonly path: string; readonly share: number },
): Promise<void> {
  const tokens = coveredRows(grid.tokens, engine.info.imageTokenId).length;
  const retention = layerRetention(file.share, fit.schedule, engine.info.layers);
  await engine.fit({
    tokens,
    retention,
    path: file.path,
    metadata: profileMetadata(engine, options, fit, { tokens, grid, retention }),
  });
  await sealProfile(file.path);
  const { modelRevision, info } = engine;
  await verifyProfile(file.path, { modelRevision, ...info, tokens });
}

async function calibrateRows(
  engine: Engine,
  prompts: PromptMaker,
  options: CalibrateOptions,
  fit: RowsFit,
  report: (line: string) => void,
): Promise<string[]> {
  const pictures = calibrationPictures(options.images, options.count);
  const grids = await accumulate(engine, prompts, pictures, (done) => {
    report(`pictures ${done}/${options.count}`);
  });
  const paths: string[] = [];
  for (const share of fit.retentions) {
    const out = profilePath(options.out, share, fit.retentions.length > 1);
    for (const [at, grid] of grids.fitted.entries()) {
      const path = withEnding(out, grid.name, at > 0);
      await writeProfile(engine, options, fit, grid, { path, share });
      const { size } = await stat(path);
      const n = coveredRows(grid.tokens, engine.info.imageTokenId).length;
      report(`${path}: ${grid.name}, n = ${n}, ${grid.pictures} pictures, ${(size / 1e6).toFixed(2)} MB`);
      paths.push(path);
    }
  }
  return paths;
}

/** Where what was gathered lies: another model or other pictures never meet it. */
function statisticsPath(engine: Engine, { out, images, count, statistics }: CalibrateOptions): string {
  const key = createHash('sha256').update(`${engine.modelRevision} ${images} ${count}`).digest('hex');
  const name = `${key.slice(0, 12)}.statistics`;
  return statistics === undefined ? `${out}.${name}` : join(statistics, name);
}

async function calibratePacked(
  engine: Engine,
  prompts: PromptMaker,
  options: CalibrateOptions,
  choices: PackedChoices,
  report: (line: string) => void,
): Promise<string[]> {
  const calibration = new PackedCalibration(engine, prompts);
  const statistics = statisticsPath(engine, options);
  const pictures = calibrationPictures(options.images, options.count);
  await calibration.gather(pictures, options.count, statistics, (done) => {
    report(`pictures ${done}/${options.count}`);
  });
  const paths = await fitPacked(
    calibration,
    engine,
    choices,
    { out: options.out, pictures: sourceName(options) },
    report,
  );
  if (options.statistics === undefined) await rm(statistics);
  return paths;
}

/**
 * Fits one profile for each retention or ratio in one pass over the pictures.
 *
 * @returns the files written
 * @throws KvcError CONFIG_INVALID, IMAGE_INVALID or MODEL_INVALID naming what to correct
 */
export async function calibrate(
  options: CalibrateOptions,
  report: (line: string) => void,
): Promise<readonly string[]> {
  await checkOutput(options.out);
  if (options.statistics !== undefined) await checkOutput(join(options.statistics, 'any'), '--statistics');
  const engine = await openEngine({
    modelDir: options.model,
    weights: 'f32',
    kvDtype: 'f32',
    threads: options.threads,
    poolBlocks: POOL_BLOCKS,
    maxSlots: BATCH_PICTURES,
    maxStepTokens: STEP_TOKENS,
    profiles: [],
  });
  let prompts: PromptMaker | undefined;
  try {
    prompts = await openPromptMaker(options.model);
    const { fit } = options;
    return await (fit.kind === 'rows'
      ? calibrateRows(engine, prompts, options, fit, report)
      : calibratePacked(engine, prompts, options, fit.choices, report));
  } finally {
    await Promise.all([engine.dispose(), prompts?.dispose()]);
  }
}

/** Progress overwrites itself on a terminal; elsewhere every line stays. */
function progressLine(line: string): void {
  const overwrite = process.stderr.isTTY && /^(pictures|errors) /.test(line);
  process.stderr.write(overwrite ? `\r${line}` : `${line}\n`);
}

export function registerCalibrate(program: Command): void {
  program
    .command('calibrate')
    .description('fit capsule profiles from pictures')
    .requiredOption('--model <dir>', 'Hugging Face folder')
    .requiredOption('--images <dir>', 'folder of pictures of any shapes, scenes:SEED or scenes:SEED/CROP')
    .requiredOption(
      '--out <file>',
      'profile to write; further ones add -xNN (ratio), -rNN (retention), -RxC (grid) or -pooled',
    )
    .option('--count <n>', 'pictures to use at most', '512')
    .option('--codec <name>', 'capsule, capsule-q8, capsule-q4 or capsule-mixed', 'capsule-mixed')
    .option('--ratio <ratios>', 'times smaller than raw 16-bit rows, comma-separated', '16')
    .option(
      '--groups <name>',
      'rows fitted together: tiles, whole spans, or the tiles of all grids pooled',
      'tiles',
    )
    .option('--key-template <name>', 'rows whose mean key comes off: none, markers, group or all', 'group')
    .option('--value-template <name>', 'rows whose mean value comes off: none, markers, group or all', 'all')
    .option('--basis <name>', 'coefficients: principal components, or rows drawn at random', 'principal')
    .option('--allocation <name>', 'bits of capsule-mixed: picture (each its own) or static', 'picture')
    .option('--without <parts>', 'to measure what each gives: rotation, weights, sensitivity, allocation', '')
    .option(
      '--sensitivities <list>',
      'what errors in keys and values of each layer cost (default: measured)',
      '',
    )
    .option('--row-bits <n>', 'capsule-q8 and capsule-q4 with other bits a row, to compare', '')
    .option(
      '--candidates <times>',
      'rows that may gain bits: those that would at so many times the bytes',
      '1.5',
    )
    .option('--row-cost <bits>', 'bits a channel that a row must be worth beside its own: fewer rows', '1')
    .option('--retention <shares>', 'codec capsule: shares of rows to keep, comma-separated', '0.4')
    .option('--schedule <name>', 'codec capsule: flat or pyramid (early layers keep more)', 'flat')
    .option(
      '--statistics <dir>',
      'keep what is gathered from the pictures, for other fits on the same ones',
      '',
    )
    .option('--threads <n>', 'threads (0: as many as the process may run on)', '0')
    .addHelpText('after', CALIBRATE_HELP)
    .action(async (flags: CalibrateFlags) => {
      await calibrate(calibrateOptions(flags), progressLine);
    });
}
