import type { PromptMaker } from '../prompts/prompt-maker.js';
import type { Held, SpanRunner } from './span-runner.js';
import { argmax } from '../statistics/statistics.js';

/** A greedy answer, end token included, and for each token the logits it was chosen from. */
export interface Answer {
  readonly tokens: readonly number[];
  readonly logits: readonly Float32Array[];
}

/** A question behind a prefix, and how far its answer has come already. */
export interface Prompted {
  readonly held: Held;
  readonly question: readonly number[];
  readonly begun: readonly number[];
}

const MAX_ANSWER_TOKENS = 96;
/** Sequences of one step; bounds its rows whatever number of codecs left raw's path. */
const MAX_SEQUENCES = 96;

function chunked<T>(items: readonly T[]): T[][] {
  const count = Math.ceil(items.length / MAX_SEQUENCES);
  return Array.from({ length: count }, (_, chunk) =>
    items.slice(chunk * MAX_SEQUENCES, (chunk + 1) * MAX_SEQUENCES),
  );
}

/** Answers questions behind held prefixes: on its own, or forced along an answer that is given. */
export class Answerer {
  readonly #runner: SpanRunner;
  readonly #prompts: PromptMaker;

  constructor(runner: SpanRunner, prompts: PromptMaker) {
    this.#runner = runner;
    this.#prompts = prompts;
  }

  /** Greedy answers, each with the tokens it had begun with (whose logits are not in it). */
  async decode(prompted: readonly Prompted[]): Promise<Answer[]> {
    const answers: Answer[] = [];
    for (const some of chunked(prompted)) {
      answers.push(...(await this.#runner.scoped(() => this.#decode(some))));
    }
    return answers;
  }

  /** Teacher forcing: the logits that each token of `along[i]` would have been chosen from. */
  async force(
    prompted: readonly Omit<Prompted, 'begun'>[],
    along: readonly (readonly number[])[],
  ): Promise<Float32Array[][]> {
    const logits: Float32Array[][] = [];
    const pairs = prompted.map((prompt, index) => ({ prompt, answer: along[index] ?? [] }));
    for (const some of chunked(pairs)) {
      const texts = some.map(({ prompt: { held, question }, answer }) => ({
        held,
        tokens: [...question, ...answer.slice(0, -1)],
        samples: answer.length,
      }));
      logits.push(
        ...(await this.#runner.scoped(async () => {
          const read = await this.#runner.read(texts);
          this.#runner.close(read.running);
          return read.logits;
        })),
      );
    }
    return logits;
  }

  async #decode(prompted: readonly Prompted[]): Promise<Answer[]> {
    const answers = prompted.map(({ begun }) => ({ tokens: [...begun], logits: [] as Float32Array[] }));
    const open = [...answers.entries()].filter(([, { tokens }]) => !this.#ended(tokens));
    if (open.length === 0) return answers;
    const texts = open.map(([index]) => {
      const { held, question, begun } = prompted[index] as Prompted;
      return { held, tokens: [...question, ...begun], samples: 1 };
    });
    const { running, logits } = await this.#runner.read(texts);
    const answerOf = new Map(running.map((sequence, at) => [sequence, open[at]?.[1]]));
    let rows = new Map(running.map((sequence, at) => [sequence, logits[at]?.[0]]));
    while (rows.size > 0) {
      const next = new Map<(typeof running)[number], number>();
      for (const [sequence, row] of rows) {
        const answer = answerOf.get(sequence);
        if (row === undefined || answer === undefined) continue;
        const token = argmax(row);
        answer.tokens.push(token);
        answer.logits.push(row);
        if (!this.#ended(answer.tokens)) next.set(sequence, token);
      }
      rows =
        next.size > 0 ? await this.#runner.extend(next) : new Map<(typeof running)[number], Float32Array>();
    }
    this.#runner.close(running);
    return answers;
  }

  #ended(tokens: readonly number[]): boolean {
    const last = tokens.at(-1);
    return tokens.length >= MAX_ANSWER_TOKENS || (last !== undefined && this.#prompts.endsAnswer(last));
  }
}
