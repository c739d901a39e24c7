import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { parse } from 'node:path';
import { promisify } from 'node:util';
import { KvcError } from '@kvcapsule/contracts';
import { openEngine, type Engine } from '@kvcapsule/engine';
import { KNOWN_ARTWORK, sceneOfSeries, UNSEEN_ARTWORK } from '@kvcapsule/testing';
import type { Command } from 'commander';
import { decodePicture } from './calibrate-pictures.js';
import { openPromptMaker, type PromptMaker } from './calibrate-prompt.js';
import { coveredRows } from './calibrate-runner.js';
import { QuestionRunner, type Asked } from './eval-questions.js';
import { renderReport, type EvalReport } from './eval-report.js';
import { summarise, type Outcome } from './eval-statistics.js';

export interface EvalOptions {
  readonly model: string;
  readonly scenes: number;
  readonly questionsPerScene: number;
  readonly seed: number;
  /** Profile files; raw is always measured. */
  readonly profiles: readonly string[];
  readonly artwork: 'known' | 'unseen';
  readonly threads: number;
}

const BATCH_SCENES = 4;
const POOL_BLOCKS = 1024;
const STEP_TOKENS = 8192;
const WEIGHTS = 'f32';
const KV_DTYPE = 'f16';
const run = promisify(execFile);

async function askScene(
  engine: Engine,
  prompts: PromptMaker,
  options: EvalOptions,
  index: number,
): Promise<Asked[]> {
  const artwork = options.artwork === 'known' ? KNOWN_ARTWORK : UNSEEN_ARTWORK;
  const scene = await sceneOfSeries(options.seed, index, { artwork, questions: options.questionsPerScene });
  const { rgb, width, height } = await decodePicture(`scene ${index}`, scene.png);
  const image = await engine.encodeImage(rgb, width, height);
  return Promise.all(
    scene.questions.map(async (question) => {
      const { question: tokens, ...prompt } = await prompts.cut({ width, height }, question.ask);
      return { prompt: { ...prompt, imageHandle: image.handle }, tokens, question };
    }),
  );
}

/** Bytes of the covered rows: as raw rows, or as whole pages of a capsule. */
function bytesPerPicture(engine: Engine, asked: Asked, codec: number): number {
  const { info } = engine;
  const covered = coveredRows(asked.prompt.picture, info.imageTokenId).length;
  const profile = info.profiles[codec - 1];
  return profile === undefined
    ? (covered * info.blockBytes) / info.blockTokens
    : profile.pages * info.pageBytes;
}

async function commitOf(): Promise<string> {
  try {
    const { stdout } = await run('git', ['describe', '--always', '--dirty', '--abbrev=12']);
    return stdout.trim();
  } catch {
    return 'unknown';
  }
}

async function measure(
  engine: Engine,
  prompts: PromptMaker,
  options: EvalOptions,
  report: (line: string) => void,
): Promise<EvalReport['codecs']> {
  const runner = new QuestionRunner(engine, prompts, POOL_BLOCKS);
  const names = ['raw', ...options.profiles.map((path) => parse(path).name)];
  const outcomes = names.map((): Outcome[] => []);
  const bytes = names.map(() => 0);
  for (let first = 0; first < options.scenes; first += BATCH_SCENES) {
    const last = Math.min(options.scenes, first + BATCH_SCENES);
    const batch: Asked[] = [];
    for (let index = first; index < last; index++) {
      batch.push(...(await askScene(engine, prompts, options, index)));
    }
    for (const [codec, results] of (await runner.run(batch)).entries()) {
      outcomes[codec]?.push(...results);
      if (batch[0] !== undefined) bytes[codec] = bytesPerPicture(engine, batch[0], codec);
    }
    for (const handle of new Set(batch.map(({ prompt }) => prompt.imageHandle))) {
      await engine.releaseImage(handle);
    }
    report(`scenes ${last}/${options.scenes}`);
  }
  return names.map((name, codec) => ({
    ...summarise(name, outcomes[codec] ?? [], codec === 0 ? undefined : outcomes[0]),
    bytesPerPicture: bytes[codec] ?? 0,
  }));
}

/**
 * Exact-match accuracy and KL divergence of profiles against raw KV on generated scenes.
 *
 * @throws KvcError MODEL_INVALID, PROFILE_INVALID or CONFIG_INVALID naming what to correct
 */
export async function evaluate(
  options: EvalOptions,
  command: string,
  report: (line: string) => void,
): Promise<EvalReport> {
  const engine = await openEngine({
    modelDir: options.model,
    weights: WEIGHTS,
    kvDtype: KV_DTYPE,
    threads: options.threads,
    poolBlocks: POOL_BLOCKS,
    maxSlots: BATCH_SCENES * options.questionsPerScene,
    maxStepTokens: STEP_TOKENS,
    profiles: options.profiles,
  });
  let prompts: PromptMaker | undefined;
  try {
    prompts = await openPromptMaker(options.model);
    return {
      command,
      commit: await commitOf(),
      date: new Date().toISOString().slice(0, 10),
      machine: `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} threads`,
      scenes: options.scenes,
      seed: options.seed,
      artwork: options.artwork,
      modelRevision: engine.modelRevision,
      weights: WEIGHTS,
      kvDtype: KV_DTYPE,
      codecs: await measure(engine, prompts, options, report),
    };
  } finally {
    await Promise.all([engine.dispose(), prompts?.dispose()]);
  }
}

function wholeNumber(flag: string, text: string, least: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least) return value;
  throw new KvcError('CONFIG_INVALID', `${flag}: ${text} is not a whole number from ${least}`);
}

type EvalFlags = Record<
  'model' | 'scenes' | 'questions' | 'seed' | 'codecs' | 'artwork' | 'out' | 'threads',
  string
>;

function parseFlags(flags: EvalFlags): EvalOptions {
  if (flags.artwork !== 'known' && flags.artwork !== 'unseen') {
    throw new KvcError('CONFIG_INVALID', `--artwork: ${flags.artwork} is neither known nor unseen`);
  }
  return {
    model: flags.model,
    scenes: wholeNumber('--scenes', flags.scenes, 1),
    questionsPerScene: wholeNumber('--questions', flags.questions, 1),
    seed: wholeNumber('--seed', flags.seed, 0),
    profiles: flags.codecs.split(',').filter((codec) => codec !== 'raw' && codec !== ''),
    artwork: flags.artwork,
    threads: wholeNumber('--threads', flags.threads, 0),
  };
}

const EXAMPLES = `
Examples:
  kvcapsule eval --model deploy/models/emoji-vlm --scenes 20 --out accuracy.json
  kvcapsule eval --model deploy/models/emoji-vlm --codecs raw,capsule-r40.safetensors --out accuracy.json`;

export function registerEval(program: Command): void {
  program
    .command('eval')
    .description('measure accuracy of capsule profiles against raw KV on generated scenes')
    .requiredOption('--model <dir>', 'Hugging Face folder')
    .requiredOption('--out <file>', 'results as JSON; a table is written beside it as .md')
    .option('--scenes <n>', 'pictures', '500')
    .option('--questions <n>', 'different questions about each picture', '3')
    .option('--seed <n>', 'seed of the series of scenes', '1')
    .option('--codecs <list>', 'raw and profile files, comma-separated', 'raw')
    .option('--artwork <name>', 'known or unseen by the demo model', 'known')
    .option('--threads <n>', 'threads (0: as many as the process may run on)', '0')
    .addHelpText('after', EXAMPLES)
    .action(async (flags: EvalFlags) => {
      const command = `kvcapsule ${process.argv.slice(2).join(' ')}`;
      const overwrite = process.stderr.isTTY;
      const result = await evaluate(parseFlags(flags), command, (line) =>
        process.stderr.write(overwrite ? `\r${line}` : `${line}\n`),
      );
      const { dir, name } = parse(flags.out);
      const table = renderReport(result);
      await writeFile(flags.out, `${JSON.stringify(result, null, 2)}\n`);
      await writeFile(`${dir === '' ? '.' : dir}/${name}.md`, table);
      process.stdout.write(table);
    });
}
