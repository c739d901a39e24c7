import type { WeightType } from '@kvcapsule/engine';
import type { QuestionKind } from '@kvcapsule/testing';
import type { RgbPicture } from '../prompts/pictures.js';
import { pictureRows, textRows, type Rows } from '../prompts/step-rows.js';
import { Answerer, type Answer, type Prompted } from './answers.js';
import { probeEntry, probeRaw, type Cosines } from './attention-probe.js';
import { fitSpan } from './formats.js';
import type { Asker, Lane } from './lane.js';
import { askRemote, compareRemote, tokenTexts, type RemoteAnswer, type RemoteEngine } from './remote.js';
import { NOTHING_HELD, type Held } from './span-runner.js';
import { argmax, klNats } from '../statistics/statistics.js';
import type { Asked, Place, UnitPlan } from './suites.js';
import { encodePicture, withoutDetail } from './workload.js';

/** What one entry did with one question. */
export interface Outcome extends Place {
  readonly kind: QuestionKind;
  readonly correct: boolean;
  /** KL(raw || entry) in nats per answer token, along raw's answer. Empty for raw itself. */
  readonly klNats: readonly number[];
  /** Tokens of raw's answer where the entry's best token is raw's. */
  readonly agreed: number;
  /** Of the pictures of the question's prompt, where a remote engine tells. */
  readonly pictureBytes?: RemoteAnswer['pictureBytes'];
}

/** An entry as the engines know it. */
export interface Measured {
  readonly key: string;
  /** Of the engine; undefined for raw rows. */
  readonly format?: number;
  /** Other pictures than the unit's own: raw rows of scaled ones. */
  readonly longestEdge?: number;
  readonly detail?: number;
  /** The same pictures in an engine with other weights. */
  readonly weights?: WeightType;
  /** Answers over HTTP instead of in one of our engines. */
  readonly remote?: RemoteEngine;
}

/** Outcomes of one entry in the order of the unit's measured questions. */
export type UnitOutcomes = Map<string, { readonly scene: number; readonly outcome: Outcome }[]>;

/** One prompt up to its question: text, then pictures, each a segment. */
type Part = { readonly picture?: readonly number[]; readonly rows: Rows };

interface RawAnswers {
  readonly asked: readonly Asked[];
  readonly answers: readonly Answer[];
}

/** A question whose answer the entry finishes on its own. */
interface Parted {
  readonly index: number;
  readonly prompted: Prompted;
}

async function partsOf(
  { engine, prompts }: Asker,
  pictures: readonly RgbPicture[],
  handles: number[],
): Promise<Part[]> {
  const { prefix, pictures: spans } = await prompts.cutChat(pictures, [], '');
  const parts: Part[] = [{ rows: textRows(prefix, 0) }];
  let position = prefix.length;
  for (const [index, picture] of pictures.entries()) {
    const { handle } = await encodePicture(engine, picture);
    handles.push(handle);
    const span = spans[index] ?? [];
    parts.push({
      picture: span,
      rows: pictureRows(span, handle, position, engine.info.imageTokenId),
    });
    position += span.length;
  }
  return parts;
}

function holdRaw({ runner }: Asker, layouts: readonly (readonly Part[])[]): Promise<Held[]> {
  const nothing = layouts.map(() => NOTHING_HELD);
  return runner.grow(
    nothing,
    layouts.map((parts) => parts.map(({ rows }) => rows)),
  );
}

/**
 * Prefixes with every picture compressed at the end of its own span, as the server does: what comes behind it
 * never sees it raw. The first picture's raw rows are those of `raw`, which nothing before it changes.
 */
async function holdCompressed(
  { engine, runner }: Asker,
  layouts: readonly (readonly Part[])[],
  raw: readonly Held[],
  format: number,
): Promise<Held[]> {
  const held: Held[] = [];
  for (const [index, parts] of layouts.entries()) {
    const first = parts.slice(0, 2).reduce((sum, { rows }) => sum + rows.tokens.length, 0);
    let prefix: Held = { segments: raw[index]?.segments.slice(0, 2) ?? [], tokens: first };
    for (const [at, part] of parts.slice(1).entries()) {
      if (at > 0) [prefix = prefix] = await runner.grow([prefix], [[part.rows]]);
      const fit = fitSpan(engine.info, format, part.picture ?? []);
      if (fit === undefined) throw new RangeError(`format ${format} does not cover the picture's span`);
      [prefix = prefix] = await runner.compress([prefix], fit);
    }
    held.push(prefix);
  }
  return held;
}

/** Everything that is asked, round by round, and raw's own answers. */
async function answerRaw(asker: Asker, plan: UnitPlan, held: readonly Held[]): Promise<RawAnswers> {
  const answerer = new Answerer(asker.runner, asker.prompts);
  const said = plan.layouts.map((): string[] => []);
  const all: { asked: Asked; answer: Answer }[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    const asked = await plan.ask(round, said);
    const answers = await answerer.decode(
      asked.map(({ layout, tokens }) => ({
        held: held[layout] ?? NOTHING_HELD,
        question: tokens,
        begun: [],
      })),
    );
    for (const [index, answer] of answers.entries()) {
      const question = asked[index];
      if (question === undefined) continue;
      said[question.layout]?.push(asker.prompts.text(answer.tokens));
      all.push({ asked: question, answer });
    }
  }
  const measured = all.filter(({ asked }) => asked.measured);
  return { asked: measured.map(({ asked }) => asked), answers: measured.map(({ answer }) => answer) };
}

/** Five digits: more say nothing of a divergence and would be most of a journal. */
const rounded = (nats: number) => Number(nats.toPrecision(5));

/** One entry along raw's answers: its divergences, and where it leaves raw's path. */
async function forceAlong(
  { runner, prompts }: Asker,
  held: readonly Held[],
  { asked, answers }: RawAnswers,
): Promise<{ outcomes: { klNats: number[]; agreed: number }[]; parted: Parted[] }> {
  const prompted = asked.map(({ layout, tokens }) => ({
    held: held[layout] ?? NOTHING_HELD,
    question: tokens,
  }));
  const along = answers.map(({ tokens }) => tokens);
  const forced = await new Answerer(runner, prompts).force(prompted, along);
  const parted: Parted[] = [];
  const outcomes = forced.map((mine, index) => {
    const tokens = along[index] ?? [];
    const own = mine.map(argmax);
    const leaves = own.findIndex((token, at) => token !== tokens[at]);
    const prompt = prompted[index];
    if (leaves >= 0 && prompt !== undefined) {
      const begun = [...tokens.slice(0, leaves), own[leaves] ?? 0];
      parted.push({ index, prompted: { ...prompt, begun } });
    }
    const raw = answers[index]?.logits ?? [];
    return {
      klNats: mine.map((logits, at) => rounded(klNats(raw[at] ?? logits, logits))),
      agreed: own.filter((token, at) => token === tokens[at]).length,
    };
  });
  return { outcomes, parted };
}

function outcomesOf(
  { prompts }: Asker,
  { asked }: RawAnswers,
  answers: readonly (readonly number[])[],
  forced: readonly { klNats: number[]; agreed: number }[] | undefined,
): { scene: number; outcome: Outcome }[] {
  return asked.map(({ scene, question, place }, index) => ({
    scene,
    outcome: {
      kind: question.kind,
      correct: prompts.text(answers[index] ?? []) === question.answer,
      klNats: forced?.[index]?.klNats ?? [],
      agreed: forced?.[index]?.agreed ?? 0,
      ...place,
    },
  }));
}

/** The entries of one engine along raw's answers; where they leave raw's path they decode on their own. */
async function measureEntries(
  asker: Asker,
  raw: RawAnswers,
  entries: readonly { readonly key: string; readonly held: () => Promise<readonly Held[]> }[],
  results: UnitOutcomes,
): Promise<void> {
  const forced = [];
  for (const { key, held } of entries) {
    forced.push({ key, ...(await forceAlong(asker, await held(), raw)) });
  }
  // All entries' own answers in the same steps: few leave raw's path, and a step of few rows is dear.
  const parted = forced.flatMap(({ parted }) => parted.map(({ prompted }) => prompted));
  const decoded = await new Answerer(asker.runner, asker.prompts).decode(parted);
  let next = 0;
  for (const { key, outcomes, parted } of forced) {
    const answers = raw.answers.map(({ tokens }) => tokens);
    for (const { index } of parted) answers[index] = decoded[next++]?.tokens ?? [];
    results.set(key, outcomesOf(asker, raw, answers, outcomes));
  }
}

/** Raw rows of other pictures along raw's answers about the unit's own. */
async function measureOther(
  asker: Asker,
  layouts: readonly (readonly RgbPicture[])[],
  raw: RawAnswers,
  key: string,
  results: UnitOutcomes,
): Promise<void> {
  await withParts(asker, layouts, async (layouts) => {
    const held = await holdRaw(asker, layouts);
    await measureEntries(asker, raw, [{ key, held: () => Promise.resolve(held) }], results);
  });
}

/** Another engine's answers, one after the other: how it batches is its own affair. */
async function measureRemote(
  { prompts, engine }: Asker,
  plan: UnitPlan,
  { asked, answers }: RawAnswers,
  remote: RemoteEngine,
): Promise<{ scene: number; outcome: Outcome }[]> {
  const texts = tokenTexts(prompts, engine.info.vocab);
  const results = [];
  for (const [index, { scene, layout, question, place }] of asked.entries()) {
    const [picture] = plan.layouts[layout] ?? [];
    const raw = answers[index];
    if (picture === undefined || raw === undefined) continue;
    const answer = await askRemote(remote, picture.png, question.ask);
    const outcome = {
      kind: question.kind,
      correct: answer.text === question.answer,
      ...compareRemote(raw, answer, texts),
      ...(answer.pictureBytes && { pictureBytes: answer.pictureBytes }),
      ...place,
    };
    results.push({ scene, outcome });
  }
  return results;
}

/** The unit's prompts with their pictures encoded, all of it released behind `work`. */
async function withParts(
  asker: Asker,
  pictures: readonly (readonly RgbPicture[])[],
  work: (layouts: readonly (readonly Part[])[]) => Promise<void>,
): Promise<void> {
  const handles: number[] = [];
  try {
    await asker.runner.scoped(async () => {
      const layouts: Part[][] = [];
      for (const some of pictures) layouts.push(await partsOf(asker, some, handles));
      await work(layouts);
    });
  } finally {
    for (const handle of handles) await asker.engine.releaseImage(handle);
  }
}

/**
 * Attention of every format of the engine beside raw's, by entry and scene. Only prompts of one picture.
 */
export async function measureAttention(
  { base }: Lane,
  plan: UnitPlan,
  entries: readonly Measured[],
): Promise<Map<string, Map<number, Cosines>>> {
  const results = new Map<string, Map<number, Cosines>>();
  const { runner, engine } = base;
  await withParts(base, plan.layouts, async (layouts) => {
    const held = await holdRaw(base, layouts);
    const raw = await answerRaw(base, plan, held);
    const probes = await probeRaw(runner, held, raw.asked, raw.answers);
    for (const { key, format } of entries) {
      if (format === undefined) continue;
      const choice = fitSpan(engine.info, format, layouts[0]?.[1]?.picture ?? []);
      if (choice === undefined) continue;
      const compressed = await holdCompressed(base, layouts, held, format);
      results.set(key, await probeEntry(runner, engine.info, compressed, choice, probes));
    }
  });
  return results;
}

/**
 * Asks a unit's questions under raw rows and under each entry. The pictures' raw rows are computed once and
 * compressed in every way; all questions about a picture read the same rows or the same capsule.
 *
 * @param rawKey key of raw's own outcomes
 */
export async function measureUnit(
  lane: Lane,
  plan: UnitPlan,
  rawKey: string,
  entries: readonly Measured[],
): Promise<UnitOutcomes> {
  const results: UnitOutcomes = new Map();
  const { base } = lane;
  await withParts(base, plan.layouts, async (layouts) => {
    const held = await holdRaw(base, layouts);
    const raw = await answerRaw(base, plan, held);
    const rawTokens = raw.answers.map(({ tokens }) => tokens);
    results.set(rawKey, outcomesOf(base, raw, rawTokens, undefined));
    const compressed = entries.flatMap(({ key, format }) =>
      format === undefined ? [] : [{ key, held: () => holdCompressed(base, layouts, held, format) }],
    );
    await measureEntries(base, raw, compressed, results);
    for (const { key, remote } of entries) {
      if (remote !== undefined) results.set(key, await measureRemote(base, plan, raw, remote));
    }
    for (const { key, longestEdge, detail, weights } of entries) {
      const other = weights === undefined ? lane.scaled.get(longestEdge ?? 0) : lane.weighed.get(weights);
      if (other !== undefined) await measureOther(other, plan.layouts, raw, key, results);
      if (detail === undefined) continue;
      const layouts = plan.layouts.map((pictures) =>
        pictures.map((picture) => withoutDetail(picture, detail)),
      );
      await measureOther(base, layouts, raw, key, results);
    }
  });
  return results;
}
