import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { parse } from 'node:path';
import { promisify } from 'node:util';
import { KvcError } from '@kvcapsule/contracts';
import { openEngine, type Engine } from '@kvcapsule/engine';
import { KNOWN_ARTWORK, sceneOfSeries, UNSEEN_ARTWORK } from '@kvcapsule/testing';
import type { Command } from 'commander';
import { checkOutput } from './calibrate-output.js';
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

/** Sequences of one step; each asks one question. */
const BATCH_QUESTIONS = 12;
const POOL_BLOCKS = 512;
const STEP_TOKENS = 4096;
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
  const format = info.formats.filter(({ profileId }) => profileId !== '')[codec - 1];
  return format === undefined
    ? (covered * info.blockBytes) / info.blockTokens
    : format.pages * info.pageBytes;
}

async function commitOf(): Promise<string> {
  try {
    const { stdout } = await run('git', ['describe', '--always', '--dirty', '--abbrev=12']);
    return stdout.trim();
  } catch {
    return 'unknown';
  }
}

/** Everything one thread needs to ask questions on its own. */
interface Lane {
  readonly engine: Engine;
  readonly runner: QuestionRunner;
}

/**
 * One engine of one thread for each thread: the steps are small, and engines that never wait for each other
 * use the cores better than one engine whose threads meet after every operation.
 */
async function openLanes(options: EvalOptions, prompts: PromptMaker): Promise<Lane[]> {
  const count = options.threads === 0 ? availableParallelism() : options.threads;
  return Promise.all(
    Array.from({ length: count }, async () => {
      const engine = await openEngine({
        modelDir: options.model,
        weights: WEIGHTS,
        kvDtype: KV_DTYPE,
        threads: 1,
        poolBlocks: POOL_BLOCKS,
        maxSlots: BATCH_QUESTIONS,
        maxStepTokens: STEP_TOKENS,
        profiles: options.profiles,
      });
      return { engine, runner: new QuestionRunner(engine, prompts, POOL_BLOCKS) };
    }),
  );
}

/** Outcomes of a batch of scenes, `[codec][question]`, and each codec's bytes a picture. */
async function measureBatch(
  { engine, runner }: Lane,
  prompts: PromptMaker,
  options: EvalOptions,
  scenes: readonly number[],
): Promise<{ outcomes: Outcome[][]; bytes: number[] }> {
  const batch: Asked[] = [];
  for (const index of scenes) batch.push(...(await askScene(engine, prompts, options, index)));
  const outcomes = await runner.run(batch);
  const bytes = outcomes.map((_, codec) => (batch[0] ? bytesPerPicture(engine, batch[0], codec) : 0));
  for (const handle of new Set(batch.map(({ prompt }) => prompt.imageHandle))) {
    await engine.releaseImage(handle);
  }
  return { outcomes, bytes };
}

async function measure(
  lanes: readonly Lane[],
  prompts: PromptMaker,
  options: EvalOptions,
  report: (line: string) => void,
): Promise<EvalReport['codecs']> {
  const scenesPerBatch = Math.max(1, Math.floor(BATCH_QUESTIONS / options.questionsPerScene));
  const results: Awaited<ReturnType<typeof measureBatch>>[] = [];
  let next = 0;
  let done = 0;
  const work = async (lane: Lane) => {
    while (next * scenesPerBatch < options.scenes) {
      const batch = next++;
      const first = batch * scenesPerBatch;
      const count = Math.min(scenesPerBatch, options.scenes - first);
      const scenes = Array.from({ length: count }, (_, index) => first + index);
      results[batch] = await measureBatch(lane, prompts, options, scenes);
      done += count;
      report(`scenes ${done}/${options.scenes}`);
    }
  };
  await Promise.all(lanes.map(work));
  const names = ['raw', ...options.profiles.map((path) => parse(path).name)];
  const outcomesOf = (codec: number) => results.flatMap(({ outcomes }) => outcomes[codec] ?? []);
  return names.map((name, codec) => ({
    ...summarise(name, outcomesOf(codec), codec === 0 ? undefined : outcomesOf(0)),
    bytesPerPicture: results[0]?.bytes[codec] ?? 0,
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
  const prompts = await openPromptMaker(options.model);
  let lanes: readonly Lane[] = [];
  try {
    lanes = await openLanes(options, prompts);
    return {
      command,
      commit: await commitOf(),
      date: new Date().toISOString().slice(0, 10),
      machine: `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} threads`,
      scenes: options.scenes,
      seed: options.seed,
      artwork: options.artwork,
      modelRevision: lanes[0]?.engine.modelRevision ?? '',
      weights: WEIGHTS,
      kvDtype: KV_DTYPE,
      codecs: await measure(lanes, prompts, options, report),
    };
  } finally {
    await Promise.all([...lanes.map(({ engine }) => engine.dispose()), prompts.dispose()]);
  }
}

function wholeNumber(flag: string, text: string, least: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least) return value;
  throw new KvcError('CONFIG_INVALID', `${flag}: ${text} is not a whole number from ${least}`);
}

function questionsOf(text: string): number {
  const count = wholeNumber('--questions', text, 1);
  if (count <= BATCH_QUESTIONS) return count;
  throw new KvcError('CONFIG_INVALID', `--questions: at most ${BATCH_QUESTIONS} about each picture`);
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
    questionsPerScene: questionsOf(flags.questions),
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
      const options = parseFlags(flags);
      await checkOutput(flags.out);
      const overwrite = process.stderr.isTTY;
      const result = await evaluate(options, command, (line) =>
        process.stderr.write(overwrite ? `\r${line}` : `${line}\n`),
      );
      const { dir, name } = parse(flags.out);
      const table = renderReport(result);
      await writeFile(flags.out, `${JSON.stringify(result, null, 2)}\n`);
      await writeFile(`${dir === '' ? '.' : dir}/${name}.md`, table);
      process.stdout.write(table);
    });
}
