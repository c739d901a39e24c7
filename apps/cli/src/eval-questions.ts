import type { Engine } from '@kvcapsule/engine';
import type { SceneQuestion } from '@kvcapsule/testing';
import type { PromptMaker } from './calibrate-prompt.js';
import { BatchRunner, type PicturePrompt } from './calibrate-runner.js';
import { argmax, klNats, type Outcome } from './eval-statistics.js';

/** One picture's prompt with one question about it. */
export interface Asked {
  readonly prompt: PicturePrompt;
  /** The question's, up to where the answer begins. */
  readonly tokens: readonly number[];
  readonly question: SceneQuestion;
}

/** Raw's answer: its tokens and, for each, the logits it was chosen from. */
interface RawAnswer {
  readonly tokens: readonly number[];
  readonly logits: readonly Float32Array[];
}

const MAX_ANSWER_TOKENS = 96;
const RAW = undefined;

/** Runs the same questions under raw KV and in any of the engine's formats that have a profile. */
export class QuestionRunner {
  readonly #engine: Engine;
  readonly #prompts: PromptMaker;
  readonly #runner: BatchRunner;

  constructor(engine: Engine, prompts: PromptMaker, poolBlocks: number) {
    this.#engine = engine;
    this.#prompts = prompts;
    this.#runner = new BatchRunner(engine, poolBlocks);
  }

  /** Outcomes of a batch, `[raw, profile 0, profile 1, ...][question]`. */
  async run(batch: readonly Asked[]): Promise<Outcome[][]> {
    const raw = await this.#decode(batch, RAW);
    const outcomes: Outcome[][] = [
      batch.map(({ question }, index) => ({
        kind: question.kind,
        correct: this.#matches(question, raw[index]?.tokens ?? []),
        klNats: [],
        agreed: 0,
      })),
    ];
    for (const [format, { profileId }] of this.#engine.info.formats.entries()) {
      if (profileId !== '') outcomes.push(await this.#inFormat(batch, raw, format));
    }
    return outcomes;
  }

  #matches(question: SceneQuestion, answer: readonly number[]): boolean {
    return this.#prompts.text(answer) === question.answer;
  }

  /** Teacher forcing along raw's answers; only where a codec leaves raw's path it decodes on its own. */
  async #inFormat(batch: readonly Asked[], raw: readonly RawAnswer[], format: number): Promise<Outcome[]> {
    const forced = await this.#force(batch, raw, format);
    const parted = batch.filter(
      (_, index) => (forced[index]?.agreed ?? 0) < (raw[index]?.tokens.length ?? 0),
    );
    const decoded = new Map(
      (await this.#decode(parted, format)).map((answer, index) => [parted[index], answer]),
    );
    return batch.map((asked, index) => {
      const answer = decoded.get(asked) ?? raw[index];
      return {
        kind: asked.question.kind,
        correct: this.#matches(asked.question, answer?.tokens ?? []),
        klNats: forced[index]?.klNats ?? [],
        agreed: forced[index]?.agreed ?? 0,
      };
    });
  }

  async #force(
    batch: readonly Asked[],
    raw: readonly RawAnswer[],
    format: number,
  ): Promise<{ klNats: number[]; agreed: number }[]> {
    const texts = batch.map(({ tokens }, index) => {
      const answer = raw[index]?.tokens ?? [];
      return {
        tokens: [...tokens, ...answer.slice(0, -1)],
        samples: answer.length,
      };
    });
    const rows = await this.#ask(batch, texts, format);
    this.#runner.close();
    return batch.map((_, index) => {
      const answer = raw[index];
      const mine = rows.get(index) ?? [];
      const pairs = mine.map((logits, at) => [answer?.logits[at] ?? logits, logits] as const);
      return {
        klNats: pairs.map(([p, q]) => klNats(p, q)),
        agreed: mine.filter((logits, at) => argmax(logits) === answer?.tokens[at]).length,
      };
    });
  }

  /** Greedy answers, end token included. */
  async #decode(batch: readonly Asked[], format: number | undefined): Promise<RawAnswer[]> {
    if (batch.length === 0) return [];
    const answers = batch.map(() => ({ tokens: [] as number[], logits: [] as Float32Array[] }));
    const texts = batch.map(({ tokens }) => ({ tokens, samples: 1 }));
    let rows = await this.#ask(batch, texts, format);
    while (rows.size > 0) {
      const next = new Map<number, { tokens: number[]; samples: number }>();
      for (const [slot, [logits]] of rows) {
        const answer = answers[slot];
        if (logits === undefined || answer === undefined) continue;
        const token = argmax(logits);
        answer.tokens.push(token);
        answer.logits.push(logits);
        const ended = this.#prompts.endsAnswer(token) || answer.tokens.length === MAX_ANSWER_TOKENS;
        if (!ended) next.set(slot, { tokens: [token], samples: 1 });
      }
      rows = next.size > 0 ? this.#split(await this.#runner.extend(next)) : new Map<number, Float32Array[]>();
    }
    this.#runner.close();
    return answers;
  }

  /** Pictures, then (compressed or not) the texts; logits of each slot's samples. */
  async #ask(
    batch: readonly Asked[],
    texts: readonly { readonly tokens: readonly number[]; readonly samples: number }[],
    format: number | undefined,
  ): Promise<Map<number, Float32Array[]>> {
    await this.#runner.prefill(batch.map(({ prompt }) => prompt));
    const extended = await this.#runner.extend(new Map(texts.entries()), {
      newSegment: true,
      ...(format !== undefined && { format }),
    });
    return this.#split(extended);
  }

  #split({ logits, slots }: { logits: Float32Array; slots: readonly number[] }): Map<number, Float32Array[]> {
    const { vocab } = this.#engine.info;
    const rows = new Map<number, Float32Array[]>();
    for (const [sample, slot] of slots.entries()) {
      const row = logits.slice(sample * vocab, (sample + 1) * vocab);
      rows.set(slot, [...(rows.get(slot) ?? []), row]);
    }
    return rows;
  }
}
