import { createHash } from 'node:crypto';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openEngine, PROFILE_FORMAT, sealProfile, verifyProfile, type Engine } from '@kvcapsule/engine';
import { calibrationPictures, type RgbPicture } from '../prompts/pictures.js';
import { openPromptMaker, type PromptMaker } from '../prompts/prompt-maker.js';
import { fitPacked, type PackedChoices } from './fit.js';
import { PackedCalibration, POOL_BLOCKS } from './packed.js';
import { type Grid, Grids } from './grids.js';
import { layerRetention, profilePath, type Schedule, withEnding } from './retention.js';
import { BatchRunner, PICTURE_SEGMENT } from './batch-runner.js';
import { coveredRows, type PicturePrompt } from '../prompts/step-rows.js';

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
        await engine.calibration.addToGram(
          slot,
          PICTURE_SEGMENT,
          Int32Array.from(coveredRows(picture, imageTokenId)),
        );
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
  await engine.calibration.fit({
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
