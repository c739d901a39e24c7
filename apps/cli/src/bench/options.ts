import { availableParallelism } from 'node:os';
import { KvcError } from '@kvcapsule/contracts';
import { CODECS, type Codec, type NativeDtype, WEIGHT_TYPES, type WeightType } from '@kvcapsule/engine';
import { wholeOf } from '../numbers.js';

export const CONTENTS = ['text', 'pictures'] as const;
export const PEERS = ['llama.cpp', 'transformers'] as const;

export interface BenchOptions {
  readonly model: string;
  readonly weights: WeightType;
  /** As `weights`; bf16 where these are quantized. */
  readonly peerWeights: NativeDtype;
  readonly threads: number;
  readonly contents: readonly (typeof CONTENTS)[number][];
  readonly batches: readonly number[];
  /** Tokens of each sequence; of pictures, visual ones, rounded to whole pictures. */
  readonly contexts: readonly number[];
  /** Longer contexts are measured with pictures alone: peers need minutes to prefill them. */
  readonly longestText: number;
  readonly codecs: readonly Codec[];
  readonly peers: readonly (typeof PEERS)[number][];
  /** Interpreter with torch and transformers. */
  readonly python: string;
  readonly repeats: number;
  /** Decode steps of a round. */
  readonly steps: number;
  readonly pictureSteps: number;
  readonly poolBlocks: number;
}

/** Flags as commander hands them over. */
export type BenchFlags = Record<
  | 'model'
  | 'weights'
  | 'threads'
  | 'content'
  | 'batches'
  | 'contexts'
  | 'longestText'
  | 'codecs'
  | 'peers'
  | 'python'
  | 'repeats'
  | 'steps'
  | 'poolBlocks'
  | 'out',
  string
>;

function numbers(flag: string, text: string, most: number): number[] {
  const values = text.split(',').map((item) => wholeOf(flag, item, 1, most));
  return [...new Set(values)].sort((a, b) => a - b);
}

function choices<Choice extends string>(flag: string, text: string, known: readonly Choice[]): Choice[] {
  return text
    .split(',')
    .filter((item) => item !== '' && item !== 'none')
    .map((item) => {
      const found = known.find((one) => one === item);
      if (found === undefined) {
        throw new KvcError('CONFIG_INVALID', `${flag}: ${item} is none of ${known.join(', ')}`);
      }
      return found;
    });
}

/**
 * @param stored type of the model's weights
 * @throws KvcError CONFIG_INVALID naming the flag
 */
export function parseBenchFlags(flags: BenchFlags, stored: NativeDtype): BenchOptions {
  const [weights] = flags.weights === 'auto' ? [stored] : choices('--weights', flags.weights, WEIGHT_TYPES);
  if (weights === undefined)
    throw new KvcError('CONFIG_INVALID', `--weights: auto or ${WEIGHT_TYPES.join(', ')}`);
  const peers = choices('--peers', flags.peers, PEERS);
  const steps = wholeOf('--steps', flags.steps, 1, 10_000);
  return {
    model: flags.model,
    weights,
    peerWeights: weights === 'q8_0' || weights === 'q4_1' ? 'bf16' : weights,
    threads: wholeOf('--threads', flags.threads, 0, 512) || availableParallelism(),
    contents: choices('--content', flags.content, CONTENTS),
    batches: numbers('--batches', flags.batches, 256),
    contexts: numbers('--contexts', flags.contexts, 1 << 20),
    longestText: wholeOf('--longest-text', flags.longestText, 0, 1 << 20),
    codecs: choices('--codecs', flags.codecs, CODECS),
    peers: flags.python === '' ? peers.filter((peer) => peer !== 'transformers') : peers,
    python: flags.python,
    repeats: wholeOf('--repeats', flags.repeats, 1, 1000),
    steps,
    pictureSteps: Math.max(4, Math.floor(steps / 4)),
    poolBlocks: wholeOf('--pool-blocks', flags.poolBlocks, 64, 1 << 24),
  };
}
