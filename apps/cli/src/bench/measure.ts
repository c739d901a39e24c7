import { openEngine, type Codec, type Engine } from '@kvcapsule/engine';
import { sceneOfSeries } from '@kvcapsule/testing';
import { decodePicture } from '@kvcapsule/evaluation/prompts';
import { openPromptMaker } from '@kvcapsule/evaluation/prompts';
import { quantile } from '@kvcapsule/evaluation/statistics';
import { EngineSide, STEP_TOKENS } from './engine-side.js';
import type { BenchOptions } from './options.js';
import { PictureContexts, type PictureContext } from './picture-contexts.js';
import type { Side, Timed } from './side.js';

export type Kind = 'prefill' | 'decode' | 'mixed';

/** One point of a sweep: what every side needed, round by round. */
export interface Point {
  readonly content: 'text' | 'pictures';
  readonly kind: Kind;
  readonly batch: number;
  /** Tokens of each sequence; of pictures, visual ones. */
  readonly context: number;
  /** Seconds of a step (the median of a round's), by side or codec, in the order of the rounds. */
  readonly seconds: Readonly<Record<string, readonly number[]>>;
  /** CPU time of a step, all threads together (the mean of a round's). */
  readonly cpuSeconds: Readonly<Record<string, readonly number[]>>;
  /** Share of all next tokens on which a peer agrees with this engine. */
  readonly agreement: Readonly<Record<string, number>>;
}

const WARM_UP_ROUNDS = 1;
const MIXED_CHUNK = 128;

/** Token ids that neither mean anything nor repeat in a short while. */
function prompts(batch: number, context: number, vocab: number): number[][] {
  return Array.from({ length: batch }, (_, sequence) =>
    Array.from(
      { length: context },
      (_unused, index) => 7 + ((index * 7919 + sequence * 104_729) % (vocab - 7)),
    ),
  );
}

function agreementOf(tokens: ReadonlyMap<string, readonly number[]>, own: string): Record<string, number> {
  const reference = tokens.get(own) ?? [];
  const entries = [...tokens].filter(([name]) => name !== own);
  return Object.fromEntries(
    entries.map(([name, theirs]) => {
      const same = theirs.filter((token, index) => token === reference[index]).length;
      return [name, same / reference.length];
    }),
  );
}

type Times = Pick<Timed<never>, 'seconds' | 'cpuSeconds'>;

interface Round {
  readonly times: Readonly<Partial<Record<Kind, Times>>>;
  readonly tokens: readonly number[];
}

/** Times of the rounds, by side. */
class Rounds {
  readonly #seconds: Record<string, number[]> = {};
  readonly #cpuSeconds: Record<string, number[]> = {};

  add(side: string, { seconds, cpuSeconds }: Times): void {
    (this.#seconds[side] ??= []).push(quantile(seconds, 0.5));
    (this.#cpuSeconds[side] ??= []).push(cpuSeconds / seconds.length);
  }

  get times(): Pick<Point, 'seconds' | 'cpuSeconds'> {
    return { seconds: this.#seconds, cpuSeconds: this.#cpuSeconds };
  }
}

async function textRound(
  side: Side,
  given: readonly (readonly number[])[],
  options: BenchOptions,
): Promise<Round> {
  const prefill = await side.prefill(given);
  const decode = await side.decode(options.steps);
  const chunk = given[0]?.slice(0, MIXED_CHUNK) ?? [];
  const steps = Math.max(4, Math.floor(options.steps / 8));
  const mixed = given.length > 1 && side.mixed ? await side.mixed(steps, chunk) : undefined;
  return {
    times: { prefill, decode, ...(mixed && { mixed }) },
    tokens: [...prefill.tokens, ...decode.tokens.flat()],
  };
}

/** All sides on the same prompts, in turn; every other round in the opposite order. */
async function textPoints(
  sides: readonly Side[],
  vocab: number,
  batch: number,
  context: number,
  options: BenchOptions,
): Promise<Point[]> {
  const kinds = ['prefill', 'decode', 'mixed'] as const;
  const rounds = { prefill: new Rounds(), decode: new Rounds(), mixed: new Rounds() };
  const tokens = new Map<string, readonly number[]>();
  const given = prompts(batch, context, vocab);
  const room = context + options.steps + Math.ceil(options.steps / 8 + 4) * MIXED_CHUNK;
  for (const side of sides) await side.open(batch, room);
  for (let round = -WARM_UP_ROUNDS; round < options.repeats; round++) {
    for (const side of round % 2 === 0 ? sides : sides.toReversed()) {
      const measured = await textRound(side, given, options);
      tokens.set(side.name, measured.tokens);
      for (const kind of kinds) {
        const times = measured.times[kind];
        if (round >= 0 && times) rounds[kind].add(side.name, times);
      }
    }
  }
  const agreement = agreementOf(tokens, sides[0]?.name ?? '');
  return kinds
    .map((kind): Point => {
      const { times } = rounds[kind];
      return {
        content: 'text',
        kind,
        batch,
        context,
        ...times,
        agreement: kind === 'mixed' ? {} : agreement,
      };
    })
    .filter(({ seconds }) => Object.keys(seconds).length > 0);
}

export async function measureText(
  engine: Engine,
  peers: readonly Side[],
  options: BenchOptions,
  onPoint: (point: Point) => void,
): Promise<void> {
  const own = new EngineSide(engine);
  for (const context of options.contexts) {
    for (const batch of options.batches) {
      const tokens = batch * (context + options.steps * 20);
      if (context > options.longestText || tokens > options.poolBlocks * engine.info.blockTokens) continue;
      for (const point of await textPoints([own, ...peers], engine.info.vocab, batch, context, options)) {
        onPoint(point);
      }
    }
  }
  await own.dispose();
}

async function pictureContexts(engine: Engine, options: BenchOptions): Promise<PictureContexts> {
  const maker = await openPromptMaker(options.model);
  try {
    const { png } = await sceneOfSeries(1, 0, { questions: 0 });
    const picture = await decodePicture('scene 0', png);
    const image = await engine.encodeImage(picture.rgb, picture.width, picture.height);
    const prompt = { ...(await maker.cut(picture, '')), imageHandle: image.handle };
    return await PictureContexts.prepare(engine, options.poolBlocks, prompt);
  } finally {
    await maker.dispose();
  }
}

/** All codecs on contexts of the same pictures, side by side in one pool, in turn. */
async function picturePoint(
  contexts: PictureContexts,
  batch: number,
  pictures: number,
  options: BenchOptions,
): Promise<Point | undefined> {
  const built: PictureContext[] = [];
  for (const codec of ['raw', ...options.codecs.filter((one) => one !== 'raw')] satisfies Codec[]) {
    const context = await contexts.build(codec, batch, pictures);
    if (context) built.push(context);
  }
  const rounds = new Rounds();
  for (let round = -WARM_UP_ROUNDS; round < options.repeats; round++) {
    for (const context of round % 2 === 0 ? built : built.toReversed()) {
      const steps = Math.min(options.pictureSteps, contexts.stepsLeft(context));
      const times = await contexts.decode(context, steps);
      if (round >= 0) rounds.add(context.codec, times);
    }
  }
  await contexts.clear();
  const context = pictures * contexts.visualTokens;
  return {
    content: 'pictures',
    kind: 'decode',
    batch,
    context,
    ...rounds.times,
    agreement: {},
  };
}

export async function measurePictures(
  engine: Engine,
  options: BenchOptions,
  onPoint: (point: Point) => void,
): Promise<void> {
  const contexts = await pictureContexts(engine, options);
  const done = new Set<string>();
  for (const context of options.contexts) {
    const pictures = Math.max(1, Math.round(context / contexts.visualTokens));
    for (const batch of options.batches) {
      const key = `${pictures}x${batch}`;
      // every codec's contexts lie in the pool at once, and no form takes more than raw rows and q8 beside them
      if (done.has(key) || 3 * contexts.blocksFor(batch, pictures) > options.poolBlocks) continue;
      done.add(key);
      const point = await picturePoint(contexts, batch, pictures, options);
      if (point) onPoint(point);
    }
  }
}

/** @returns an engine whose pool has room for the largest point of the sweeps */
export function openBenchEngine(options: BenchOptions): Promise<Engine> {
  return openEngine({
    modelDir: options.model,
    weights: options.weights,
    kvDtype: 'f16',
    threads: options.threads,
    poolBlocks: options.poolBlocks,
    maxSlots: 1024,
    maxStepTokens: STEP_TOKENS,
  });
}
