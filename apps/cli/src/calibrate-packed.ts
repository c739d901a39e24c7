import { access } from 'node:fs/promises';
import { KvcError } from '@kvcapsule/contracts';
import {
  type Engine,
  type PackedFitOptions,
  PROFILE_FORMAT,
  sealProfile,
  verifyProfile,
} from '@kvcapsule/engine';
import type { CalibrationPicture } from './calibrate-pictures.js';
import type { PromptMaker } from './calibrate-prompt.js';
import { packedProfilePath } from './calibrate-retention.js';
import { BatchRunner, PICTURE_SEGMENT } from './calibrate-runner.js';
import { argmax, klNats } from './eval/statistics.js';
import type { PicturePrompt } from './step-plan.js';

/** What a packed profile is fitted with; the rest follows from the pictures. */
export interface PackedChoices {
  readonly fit: Pick<
    PackedFitOptions,
    | 'codec'
    | 'keyTemplate'
    | 'valueTemplate'
    | 'rotate'
    | 'weighRows'
    | 'basis'
    | 'allocation'
    | 'bits'
    | 'candidates'
    | 'rowCost'
  >;
  readonly groups: 'tiles' | 'whole';
  /**
   * What a unit of squared error costs: measured, the same in all parts, or given, `[layer][keys, values]`. Only
   * the numbers' ratios count.
   */
  readonly sensitivity: 'measured' | 'equal' | readonly number[];
  /** How many times smaller than raw 16-bit rows, markers included. */
  readonly ratios: readonly number[];
}

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
/** Profiles are for pools of 16-bit rows, whatever is calibrated with. */
const PROFILE_ROW_BYTES = 2;

interface Probe {
  readonly prompt: PicturePrompt;
  readonly question: readonly number[];
  readonly answer: readonly number[];
}

/** Group of each row: one a tile of image tokens that follow each other and one for all markers, or one in all. */
export function rowGroups(
  picture: readonly number[],
  imageTokenId: number,
  kind: 'tiles' | 'whole',
): Int32Array {
  if (kind === 'whole') return new Int32Array(picture.length);
  let tiles = 0;
  let markers = false;
  const groups = picture.map((token, row) => {
    if (token !== imageTokenId) markers = true;
    else if (picture[row - 1] !== imageTokenId) tiles += 1;
    return token === imageTokenId ? tiles - 1 : -1;
  });
  return Int32Array.from(groups, (group) => (group === -1 && markers ? tiles : group));
}

/** Fits packed profiles: one pass over the pictures, one over a few for what errors cost, then any number of fits. */
export class PackedCalibration {
  readonly #engine: Engine;
  readonly #prompts: PromptMaker;
  readonly #runner: BatchRunner;
  readonly #probes: Probe[] = [];
  #picture: readonly number[] = [];
  #pictures = 0;

  constructor(engine: Engine, prompts: PromptMaker) {
    this.#engine = engine;
    this.#prompts = prompts;
    this.#runner = new BatchRunner(engine, POOL_BLOCKS);
  }

  get pictures(): number {
    return this.#pictures;
  }

  get tokens(): number {
    return this.#picture.length;
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
    let batch: CalibrationPicture[] = [];
    const flush = async () => {
      await this.#add(batch, this.#pictures >= gathered);
      this.#pictures += batch.length;
      batch = [];
      onProgress(this.#pictures);
      if (this.#pictures > gathered && this.#pictures % SAVE_EVERY === 0) {
        await this.#engine.saveStatistics(statistics);
      }
    };
    for await (const picture of pictures) {
      batch.push(picture);
      if (batch.length === BATCH_PICTURES) await flush();
      if (gathered === count && this.#probes.length >= PROBES) {
        this.#pictures = gathered;
        return;
      }
    }
    if (batch.length > 0) await flush();
    await this.#engine.saveStatistics(statistics);
  }

  /** Pictures of an earlier run, whole batches of them; 0 when there is none. */
  async #resume(statistics: string): Promise<number> {
    const missing = await access(statistics).then(
      () => false,
      () => true,
    );
    return missing ? 0 : this.#engine.loadStatistics(statistics);
  }

  async #add(batch: readonly CalibrationPicture[], fresh: boolean): Promise<void> {
    const probing = this.#probes.length < PROBES;
    if (!fresh && !probing) return;
    const asked: { prompt: PicturePrompt; question: readonly number[] }[] = [];
    for (const picture of batch) {
      const image = await this.#engine.encodeImage(picture.rgb, picture.width, picture.height);
      const { prefix, picture: tokens, question } = await this.#prompts.cut(picture, picture.question);
      this.#checkShape(picture.name, tokens);
      asked.push({ prompt: { prefix, picture: tokens, imageHandle: image.handle }, question });
    }
    await this.#runner.prefill(asked.map(({ prompt }) => prompt));
    const slots = Int32Array.from(asked.keys());
    if (fresh) {
      const covered = Int32Array.from(this.#picture.keys());
      for (const slot of slots) await this.#engine.addToGram(slot, PICTURE_SEGMENT, covered);
      await this.#engine.observe(slots, PICTURE_SEGMENT);
    }
    const answers = await this.#answer(asked.map(({ question }) => question));
    await this.#engine.observe(new Int32Array(), PICTURE_SEGMENT);
    this.#runner.close();
    for (const [slot, { prompt, question }] of asked.entries()) {
      if (this.#probes.length < PROBES) this.#probes.push({ prompt, question, answer: answers[slot] ?? [] });
      else await this.#engine.releaseImage(prompt.imageHandle);
    }
  }

  #checkShape(name: string, picture: readonly number[]): void {
    if (this.#picture.length === 0) this.#picture = picture;
    const same =
      picture.length === this.#picture.length && picture.every((token, row) => token === this.#picture[row]);
    if (same) return;
    throw new KvcError(
      'CONFIG_INVALID',
      `${name} has another shape than the pictures before it: a profile fits one`,
    );
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
      squares += await this.#engine.perturb({
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

  /** Writes one profile; the number of whole pages that a capsule of 16-bit pools takes. */
  async write(
    choices: PackedChoices,
    ratio: number,
    sensitivities: Float64Array,
    file: { readonly path: string; readonly metadata: Readonly<Record<string, string>> },
  ): Promise<number> {
    const { layers, kvHeads, headDim, blockTokens, pagesPerBlock, imageTokenId } = this.#engine.info;
    const tokenBytes = 2 * layers * kvHeads * headDim * PROFILE_ROW_BYTES;
    const pageBytes = (tokenBytes * blockTokens) / pagesPerBlock;
    const pages = Math.floor((this.tokens * tokenBytes) / ratio / pageBytes);
    const markerRows = [...this.#picture.keys()].filter((row) => this.#picture[row] !== imageTokenId);
    await this.#engine.fitPacked({
      ...choices.fit,
      groups: rowGroups(this.#picture, imageTokenId, choices.groups),
      markerRows: Int32Array.from(markerRows),
      bytes: pages * pageBytes,
      sensitivities,
      path: file.path,
      metadata: { ...file.metadata, ratio: String(ratio), groups: choices.groups, pages: String(pages) },
    });
    await sealProfile(file.path);
    const { modelRevision, info } = this.#engine;
    await verifyProfile(file.path, { modelRevision, ...info, tokens: this.tokens });
    return pages;
  }

  async release(): Promise<void> {
    for (const { prompt } of this.#probes) await this.#engine.releaseImage(prompt.imageHandle);
  }
}

/** `[layer][KV head][keys, values]`, or none where all cost the same. */
async function sensitivitiesOf(
  calibration: PackedCalibration,
  { sensitivity }: PackedChoices,
  { layers, kvHeads }: { readonly layers: number; readonly kvHeads: number },
  report: (line: string) => void,
): Promise<Float64Array> {
  if (sensitivity === 'equal') return new Float64Array();
  if (sensitivity === 'measured') {
    return calibration.sensitivities((done, of) => {
      report(`errors ${done}/${of}`);
    });
  }
  if (sensitivity.length !== 2 * layers) {
    const wanted = `${2 * layers} numbers, of keys and of values of each layer`;
    throw new KvcError(
      'CONFIG_INVALID',
      `--sensitivities: ${sensitivity.length} numbers instead of ${wanted}`,
    );
  }
  const partOf = (index: number) => 2 * Math.floor(index / 2 / kvHeads) + (index % 2);
  return Float64Array.from({ length: 2 * layers * kvHeads }, (_, index) => sensitivity[partOf(index)] ?? 0);
}

/** Fits a profile for each ratio. */
export async function fitPacked(
  calibration: PackedCalibration,
  engine: Engine,
  choices: PackedChoices,
  source: { readonly out: string; readonly pictures: string },
  report: (line: string) => void,
): Promise<string[]> {
  const { layers, kvHeads, headDim } = engine.info;
  const sensitivities = await sensitivitiesOf(calibration, choices, { layers, kvHeads }, report);
  await calibration.release();
  const paths: string[] = [];
  for (const ratio of choices.ratios) {
    const path = packedProfilePath(source.out, ratio, choices.ratios.length > 1);
    const metadata = {
      format: PROFILE_FORMAT,
      model_revision: engine.modelRevision,
      layers: String(layers),
      kv_heads: String(kvHeads),
      head_dim: String(headDim),
      pictures: String(calibration.pictures),
      source: source.pictures,
      key_template: choices.fit.keyTemplate,
      value_template: choices.fit.valueTemplate,
      basis: choices.fit.basis,
      allocation: choices.fit.allocation,
    };
    const pages = await calibration.write(choices, ratio, sensitivities, { path, metadata });
    report(`${path}: n = ${calibration.tokens}, ${calibration.pictures} pictures, ${pages} pages a capsule`);
    paths.push(path);
  }
  return paths;
}
