import { stat } from 'node:fs/promises';
import { KvcError } from '@kvcapsule/contracts';
import { openEngine, PROFILE_FORMAT, sealProfile, verifyProfile, type Engine } from '@kvcapsule/engine';
import type { Command } from 'commander';
import { checkOutput } from './calibrate-output.js';
import { calibrationPictures, type RgbPicture } from './calibrate-pictures.js';
import { openPromptMaker, type PromptMaker } from './calibrate-prompt.js';
import { layerRetention, parseRetentions, profilePath, type Schedule } from './calibrate-retention.js';
import { BatchRunner, PICTURE_SEGMENT } from './calibrate-runner.js';
import { coveredRows, type PicturePrompt } from './step-plan.js';

export interface CalibrateOptions {
  readonly model: string;
  /** A folder, or `scenes:SEED`. */
  readonly images: string;
  readonly out: string;
  readonly count: number;
  readonly retentions: readonly number[];
  readonly schedule: Schedule;
  readonly threads: number;
}

const BATCH_PICTURES = 8;
/** Room for a batch of the longest picture spans a model of 8,192 positions can hold. */
const POOL_BLOCKS = 1024;
const STEP_TOKENS = 4096;

async function encode(engine: Engine, prompts: PromptMaker, picture: RgbPicture): Promise<PicturePrompt> {
  const image = await engine.encodeImage(picture.rgb, picture.width, picture.height);
  const { prefix, picture: tokens } = await prompts.cut(picture, '');
  return { prefix, picture: tokens, imageHandle: image.handle };
}

/** All pictures' rows into the engine's statistics; the covered tokens n they all have, and how many. */
async function accumulate(
  engine: Engine,
  prompts: PromptMaker,
  pictures: AsyncIterable<RgbPicture>,
  onProgress: (done: number) => void,
): Promise<{ tokens: number; pictures: number }> {
  const runner = new BatchRunner(engine, POOL_BLOCKS);
  let tokens = 0;
  let done = 0;
  let batch: PicturePrompt[] = [];
  const flush = async () => {
    if (batch.length === 0) return;
    await runner.prefill(batch);
    for (const [slot, { picture, imageHandle }] of batch.entries()) {
      const covered = Int32Array.from(coveredRows(picture, engine.info.imageTokenId));
      await engine.addToGram(slot, PICTURE_SEGMENT, covered);
      await engine.releaseImage(imageHandle);
    }
    runner.close();
    done += batch.length;
    batch = [];
    onProgress(done);
  };
  for await (const picture of pictures) {
    const prompt = await encode(engine, prompts, picture);
    const covered = coveredRows(prompt.picture, engine.info.imageTokenId).length;
    if (tokens !== 0 && covered !== tokens) {
      throw new KvcError(
        'CONFIG_INVALID',
        `${picture.name} has ${covered} visual tokens, the pictures before it ${tokens}: a profile fits one shape`,
      );
    }
    tokens = covered;
    batch.push(prompt);
    if (batch.length === BATCH_PICTURES) await flush();
  }
  await flush();
  return { tokens, pictures: done };
}

function profileMetadata(
  engine: Engine,
  options: CalibrateOptions,
  fitted: { readonly tokens: number; readonly pictures: number; readonly retention: Float32Array },
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
    schedule: options.schedule,
    pictures: String(fitted.pictures),
    // A folder's name says nothing to others and may say too much.
    source: options.images.startsWith('scenes:') ? options.images : 'folder',
  };
}

async function writeProfile(
  engine: Engine,
  options: CalibrateOptions,
  share: number,
  fitted: { readonly tokens: number; readonly pictures: number },
): Promise<string> {
  const path = profilePath(options.out, share, options.retentions.length > 1);
  const retention = layerRetention(share, options.schedule, engine.info.layers);
  await engine.fit({ retention, path, metadata: profileMetadata(engine, options, { ...fitted, retention }) });
  await sealProfile(path);
  const { modelRevision, info } = engine;
  await verifyProfile(path, { modelRevision, ...info, tokens: fitted.tokens });
  return path;
}

/**
 * Fits one profile for each retention in one pass over the pictures.
 *
 * @returns the files written
 * @throws KvcError CONFIG_INVALID, IMAGE_INVALID or MODEL_INVALID naming what to correct
 */
export async function calibrate(
  options: CalibrateOptions,
  report: (line: string) => void,
): Promise<readonly string[]> {
  await checkOutput(options.out);
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
    const pictures = calibrationPictures(options.images, options.count);
    const fitted = await accumulate(engine, prompts, pictures, (done) => {
      report(`pictures ${done}/${options.count}`);
    });
    const paths: string[] = [];
    for (const share of options.retentions) {
      const path = await writeProfile(engine, options, share, fitted);
      const { size } = await stat(path);
      report(`${path}: n = ${fitted.tokens}, ${fitted.pictures} pictures, ${(size / 1e6).toFixed(2)} MB`);
      paths.push(path);
    }
    return paths;
  } finally {
    await Promise.all([engine.dispose(), prompts?.dispose()]);
  }
}

function positiveInteger(flag: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new KvcError('CONFIG_INVALID', `${flag}: ${text} is not a whole number above 0`);
}

/** Progress overwrites itself on a terminal; elsewhere every line stays. */
function progressLine(line: string): void {
  const overwrite = process.stderr.isTTY && line.startsWith('pictures ');
  process.stderr.write(overwrite ? `\r${line}` : `${line}\n`);
}

const EXAMPLES = `
Examples:
  kvcapsule calibrate --model MODEL --images pictures/ --out MODEL/profiles/capsule-r40.safetensors
  kvcapsule calibrate --model deploy/models/emoji-vlm --images scenes:7 --retention 0.25,0.4 --out capsule.safetensors`;

export function registerCalibrate(program: Command): void {
  program
    .command('calibrate')
    .description('fit capsule profiles from pictures')
    .requiredOption('--model <dir>', 'Hugging Face folder')
    .requiredOption('--images <dir>', 'folder of pictures of one shape, or scenes:SEED')
    .requiredOption('--out <file>', 'profile to write; several retentions add -rNN to its name')
    .option('--count <n>', 'pictures to use at most', '384')
    .option('--retention <shares>', 'shares of rows to keep, comma-separated', '0.4')
    .option('--schedule <name>', 'flat or pyramid (early layers keep more)', 'flat')
    .option('--threads <n>', 'threads (0: as many as the process may run on)', '0')
    .addHelpText('after', EXAMPLES)
    .action(
      async (
        flags: Record<'model' | 'images' | 'out' | 'count' | 'retention' | 'schedule' | 'threads', string>,
      ) => {
        if (flags.schedule !== 'flat' && flags.schedule !== 'pyramid') {
          throw new KvcError('CONFIG_INVALID', `--schedule: ${flags.schedule} is neither flat nor pyramid`);
        }
        await calibrate(
          {
            model: flags.model,
            images: flags.images,
            out: flags.out,
            count: positiveInteger('--count', flags.count),
            retentions: parseRetentions(flags.retention),
            schedule: flags.schedule,
            threads: flags.threads === '0' ? 0 : positiveInteger('--threads', flags.threads),
          },
          progressLine,
        );
      },
    );
}
