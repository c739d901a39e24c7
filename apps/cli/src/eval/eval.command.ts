import { join, parse } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import type { Command } from 'commander';
import { cropOf } from '@kvcapsule/evaluation/prompts';
import { wholeOf } from '../numbers.js';
import { checkResults, writeReport } from '../output.js';
import { entriesAgainst, readEntries, type Entry } from '@kvcapsule/evaluation/fidelity';
import { evaluate, measureShard, type EvalOptions, type Shard } from '@kvcapsule/evaluation/fidelity';
import { evalReport } from '@kvcapsule/evaluation/report';
import { ARTWORK } from '@kvcapsule/evaluation/fidelity';

/** A unit's questions are read in one step together. */
const MOST_QUESTIONS = 12;
const MOST_SCENES = 1_000_000;
const MOST_SEED = 0xffff_ffff;
const MOST_THREADS = 512;
const FULL_ANSWERS = 5000;
const FULL_SIDE_SCENES = 98;
/** Cosines are means over answer tokens and settle soon. */
const FULL_ATTENTION_SCENES = 24;

type EvalFlags = Record<'model' | 'questions' | 'seed' | 'artwork' | 'out' | 'threads', string> & {
  readonly scenes?: string;
  readonly conversations?: string;
  readonly several?: string;
  readonly attention?: string;
  readonly crop?: string;
  readonly entries?: string;
  readonly against: readonly string[];
  readonly merge: readonly string[];
  readonly shard?: string;
  readonly full?: true;
};

function shardOf(text: string): Shard {
  const [number = 0, of = 0] = (/^(\d{1,4})\/(\d{1,4})$/.exec(text) ?? []).slice(1).map(Number);
  if (number >= 1 && number <= of) return { index: number - 1, of };
  throw new KvcError('CONFIG_INVALID', `--shard: ${text} is not one of several, as 1/4`);
}

function artworkOf(name: string): string {
  if (ARTWORK[name] !== undefined) return name;
  throw new KvcError('CONFIG_INVALID', `--artwork: ${name} is none of ${Object.keys(ARTWORK).join(', ')}`);
}

function scenesOf(flags: EvalFlags, questions: number): EvalOptions['scenes'] {
  const full = flags.full === true;
  const side = full ? String(FULL_SIDE_SCENES) : '0';
  const alone = full ? String(Math.ceil(FULL_ANSWERS / questions)) : '100';
  const count = (flag: string, text: string | undefined, otherwise: string, least: number) =>
    wholeOf(flag, text ?? otherwise, least, MOST_SCENES);
  return {
    questions: count('--scenes', flags.scenes, alone, 1),
    conversations: count('--conversations', flags.conversations, side, 0),
    several: count('--several', flags.several, side, 0),
    attention: count('--attention', flags.attention, full ? String(FULL_ATTENTION_SCENES) : '0', 0),
  };
}

function parseFlags(flags: EvalFlags): Omit<EvalOptions, 'entries'> {
  const questionsPerScene = wholeOf('--questions', flags.questions, 1, MOST_QUESTIONS);
  const { dir, name } = parse(flags.out);
  return {
    model: flags.model,
    scenes: scenesOf(flags, questionsPerScene),
    questionsPerScene,
    seed: wholeOf('--seed', flags.seed, 0, MOST_SEED),
    artwork: artworkOf(flags.artwork),
    threads: wholeOf('--threads', flags.threads, 0, MOST_THREADS),
    journal: join(dir, `${name}.journal.jsonl`),
    merge: flags.merge,
    ...(flags.crop !== undefined && { crop: cropOf('--crop', flags.crop) }),
    ...(flags.shard !== undefined && { shard: shardOf(flags.shard) }),
  };
}

async function entriesOf(flags: EvalFlags): Promise<Entry[]> {
  const named = flags.entries === undefined ? [] : await readEntries(flags.entries);
  const more = entriesAgainst(flags.against);
  const twice = more.find((entry) => named.some(({ name }) => name === entry.name));
  if (twice !== undefined)
    throw new KvcError('CONFIG_INVALID', `--against: --entries names ${twice.name} too`);
  return [...named, ...more];
}

async function runEval(flags: EvalFlags): Promise<void> {
  const command = `kvcapsule ${process.argv.slice(2).join(' ')}`;
  const options = parseFlags(flags);
  await checkResults(flags.out);
  const overwrite = process.stderr.isTTY;
  const progress = (line: string) => process.stderr.write(overwrite ? `\r\x1b[K${line}` : `${line}\n`);
  const whole = { ...options, entries: await entriesOf(flags) };
  if (whole.shard !== undefined) {
    await measureShard(whole, progress);
    process.stderr.write(`\nshard ${flags.shard} is measured; --merge takes up ${whole.journal}\n`);
    return;
  }
  const report = await evaluate(whole, command, progress);
  if (overwrite) process.stderr.write('\n');
  await writeReport(flags.out, report, evalReport(report));
}

const EXAMPLES = `
Examples:
  kvcapsule eval --model deploy/models/emoji-vlm --against q4 profile.safetensors --out accuracy.json
  kvcapsule eval --model deploy/models/emoji-vlm --entries entries.json --full --out accuracy.json
  kvcapsule eval --model deploy/models/emoji-vlm --against http://127.0.0.1:8000 --scenes 50 --out served.json
  kvcapsule eval --model MODEL --against q4 --full --shard 1/2 --out a.json   (and 2/2 into b.json elsewhere)
  kvcapsule eval --model MODEL --against q4 --full --merge a.journal.jsonl b.journal.jsonl --out whole.json`;

export function registerEval(program: Command): void {
  program
    .command('eval')
    .description('measure the fidelity of codecs against raw KV on generated scenes')
    .requiredOption('--model <dir>', 'Hugging Face folder')
    .requiredOption(
      '--out <file>',
      'results as JSON; .md and .html are written beside it, .journal.jsonl is taken up again',
    )
    .option('--entries <file>', 'what to compare, as JSON: {"entries": [{"name", "codec", "profile", ...}]}')
    .option('--against <what...>', 'q8, q4, profile files, or addresses of OpenAI servers with logprobs', [])
    .option('--full', `at least ${FULL_ANSWERS} paired answers, and every suite`)
    .option('--scenes <n>', 'pictures asked about alone (default: 100)')
    .option('--questions <n>', 'different questions about each of these pictures', '6')
    .option('--conversations <n>', 'pictures asked about ten times in one conversation (default: 0)')
    .option('--several <n>', 'pictures asked about among one, two and four (default: 0)')
    .option('--attention <n>', 'pictures whose attention output is compared layer by layer (default: 0)')
    .option(
      '--seed <n>',
      'seed of the series of scenes; must not be one that a profile was fitted on',
      '2001',
    )
    .option('--artwork <name>', 'known or unseen by the demo model, or one icon set', 'known')
    .option('--crop <RxC>', 'part of the 4 x 4 cells that pictures show, as 2x4 (default: all of them)')
    .option('--threads <n>', 'threads (0: as many as the process may run on)', '0')
    .option('--shard <i/n>', 'measure the i-th of n parts only, into the journal of --out; no report')
    .option('--merge <journal...>', 'take over the results of other processes, such as shards', [])
    .addHelpText('after', EXAMPLES)
    .action(runEval);
}
