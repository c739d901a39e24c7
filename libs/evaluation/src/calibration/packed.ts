import { access } from 'node:fs/promises';
import type { Engine } from '@kvcapsule/engine';
import { type Grid, Grids } from './grids.js';
import type { CalibrationPicture } from '../prompts/pictures.js';
import type { CutPrompt, PromptMaker } from '../prompts/prompt-maker.js';
import { BatchRunner, PICTURE_SEGMENT } from './batch-runner.js';
import { argmax, klNats } from '../statistics/statistics.js';
import type { PicturePrompt } from '../prompts/step-rows.js';

const BATCH_PICTURES = 8;
/** Room for a batch of the longest picture spans a model of 8,192 positions can hold. */
export const POOL_BLOCKS = 1024;
const ANSWER_TOKENS = 24;
/** Pictures between two saves; whole batches. */
const SAVE_EVERY = 64;
/** Pictures that errors are tried on. */
const PROBES = 24;
/** Noise as a share of a part's deviation: about what a capsule of 16 times leaves. */
const PROBE_NOISE = 0.2;

/** A picture with its prompt and what its statistics belong to. */
interface Cut extends CutPrompt {
  readonly source: CalibrationPicture;
  readonly grid: Grid;
}

interface Probe {
  readonly prompt: PicturePrompt;
  readonly question: readonly number[];
  readonly answer: readonly number[];
}

/** What packed profiles are fitted from: one pass over the pictures, and one over a few for what errors cost. */
export class PackedCalibration {
  readonly grids: Grids;
  readonly #engine: Engine;
  readonly #prompts: PromptMaker;
  readonly #runner: BatchRunner;
  readonly #probes: Probe[] = [];

  constructor(engine: Engine, prompts: PromptMaker) {
    this.grids = new Grids(prompts.spans());
    this.#engine = engine;
    this.#prompts = prompts;
    this.#runner = new BatchRunner(engine, POOL_BLOCKS);
  }

  /**
   * Rows of all pictures, and how the model looks at them while it answers, into the engine's statistics. With a
   * `statistics` file from an earlier run the pictures that are in it are only looked at where probes are made.
   *
   * @param count of pictures at most
   */
  async gather(
    pictures: AsyncIterable<CalibrationPicture>,
    count: number,
    statistics: string,
    onProgress: (done: number) => void,
  ): Promise<void> {
    const gathered = await this.#resume(statistics);
    let done = 0;
    let batch: Cut[] = [];
    const flush = async () => {
      await this.#add(batch, done >= gathered);
      done += batch.length;
      batch = [];
      onProgress(done);
      if (done > gathered && done % SAVE_EVERY === 0)
        await this.#engine.calibration.saveStatistics(statistics);
    };
    for await (const picture of pictures) {
      const cut = await this.#prompts.cut(picture, picture.question);
      const grid = this.grids.find(cut.picture);
      if (grid === undefined) continue;
      batch.push({ ...cut, source: picture, grid });
      if (batch.length === BATCH_PICTURES) await flush();
      if (gathered === count && this.#probes.length >= PROBES) return;
    }
    if (batch.length > 0) await flush();
    await this.#engine.calibration.saveStatistics(statistics);
  }

  /** Pictures of an earlier run, whole batches of them; 0 when there is none. */
  async #resume(statistics: string): Promise<number> {
    const missing = await access(statistics).then(
      () => false,
      () => true,
    );
    if (!missing) this.grids.resume(await this.#engine.calibration.loadStatistics(statistics));
    return this.grids.pictures;
  }

  async #add(batch: readonly Cut[], fresh: boolean): Promise<void> {
    const probing = this.#probes.length < PROBES;
    if (!fresh && !probing) return;
    const asked: { prompt: PicturePrompt; question: readonly number[]; grid: Grid }[] = [];
    for (const { prefix, picture, question, grid, source } of batch) {
      const image = await this.#engine.encodeImage(source.rgb, source.width, source.height);
      asked.push({ prompt: { prefix, picture, imageHandle: image.handle }, question, grid });
    }
    await this.#runner.prefill(asked.map(({ prompt }) => prompt));
    const slots = Int32Array.from(asked.keys());
    if (fresh) {
      for (const [slot, { grid }] of asked.entries()) {
        await this.#engine.calibration.addToGram(slot, PICTURE_SEGMENT, Int32Array.from(grid.tokens.keys()));
        grid.pictures += 1;
      }
      await this.#engine.calibration.observe(slots, PICTURE_SEGMENT);
    }
    const answers = await this.#answer(asked.map(({ question }) => question));
    await this.#engine.calibration.observe(new Int32Array(), PICTURE_SEGMENT);
    this.#runner.close();
    for (const [slot, { prompt, question }] of asked.entries()) {
      if (this.#probes.length < PROBES) this.#probes.push({ prompt, question, answer: answers[slot] ?? [] });
      else await this.#engine.releaseImage(prompt.imageHandle);
    }
  }

  /** Greedy answers of all slots, end token included. */
  async #answer(questions: readonly (readonly number[])[]): Promise<number[][]> {
    const answers = questions.map((): number[] => []);
    let next = new Map(questions.map((tokens, slot) => [slot, { tokens, samples: 1 }]));
    for (let length = 0; next.size > 0; length += 1) {
      const { logits, slots } = await this.#runner.extend(next, { newSegment: length === 0 });
      next = new Map();
      for (const [sample, slot] of slots.entries()) {
        const token = argmax(this.#row(logits, sample));
        answers[slot]?.push(token);
        const ended = this.#prompts.endsAnswer(token) || length + 1 === ANSWER_TOKENS;
        if (!ended) next.set(slot, { tokens: [token], samples: 1 });
      }
    }
    return answers;
  }

  #row(logits: Float32Array, sample: number): Float32Array {
    const { vocab } = this.#engine.info;
    return logits.subarray(sample * vocab, (sample + 1) * vocab);
  }

  /**
   * Fourth root of the divergence a unit of squared error causes, `[layer][KV head][keys, values]`: noise in one part at a time, over
   * the same questions and answers.
   */
  async sensitivities(onProgress: (done: number, of: number) => void): Promise<Float64Array> {
    const { layers, kvHeads } = this.#engine.info;
    const parts = layers * kvHeads * 2;
    const divergence = new Float64Array(parts);
    const squares = new Float64Array(parts);
    for (let first = 0; first < this.#probes.length; first += BATCH_PICTURES) {
      const batch = this.#probes.slice(first, first + BATCH_PICTURES);
      await this.#runner.prefill(batch.map(({ prompt }) => prompt));
      const raw = await this.#force(batch);
      for (let part = 0; part < parts; part += 1) {
        squares[part]! += await this.#perturb(batch.length, part, PROBE_NOISE);
        const noisy = await this.#force(batch);
        await this.#perturb(batch.length, part, -PROBE_NOISE);
        for (const [index, logits] of noisy.entries())
          divergence[part]! += klNats(raw[index] ?? logits, logits);
        onProgress(first * parts + part * batch.length, this.#probes.length * parts);
      }
      this.#runner.close();
    }
    const tokens = this.#probes.reduce((sum, { answer }) => sum + answer.length, 0);
    // A few questions measure it roughly; the fourth root keeps a wrong number from starving a part.
    return divergence.map((sum, part) => ((sum / tokens / squares[part]!) * this.#probes.length) ** 0.25);
  }

  /** Teacher forcing: logits of all answers' tokens, the slots as they were afterwards. */
  async #force(batch: readonly Probe[]): Promise<Float32Array[]> {
    const texts = batch.map(({ question, answer }) => ({
      tokens: [...question, ...answer.slice(0, -1)],
      samples: answer.length,
    }));
    const { logits, slots } = await this.#runner.extend(new Map(texts.entries()), { newSegment: true });
    await this.#runner.rewind();
    return slots.map((_, sample) => this.#row(logits, sample));
  }

  async #perturb(slots: number, part: number, relative: number): Promise<number> {
    const { kvHeads } = this.#engine.info;
    let squares = 0;
    for (let slot = 0; slot < slots; slot += 1) {
      squares += await this.#engine.calibration.perturb({
        slot,
        segment: PICTURE_SEGMENT,
        layer: Math.floor(part / 2 / kvHeads),
        kvHead: Math.floor(part / 2) % kvHeads,
        part: part % 2,
        relative,
        seed: part * BATCH_PICTURES + slot,
      });
    }
    return squares;
  }

  async release(): Promise<void> {
    for (const { prompt } of this.#probes) await this.#engine.releaseImage(prompt.imageHandle);
  }
}
