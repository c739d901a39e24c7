import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { addonPath, type Engine } from '@kvcapsule/engine';
import type { SceneCrop } from '@kvcapsule/testing';
import { commitOf, machineName } from '@kvcapsule/reporting';
import { isBaseline, RAW_ENTRY, type Entry } from './entries.js';
import { reportEntries, type EntryReport } from './entry-report.js';
import { Journal, type SceneRecord } from './journal.js';
import { closeLanes, KV_DTYPE, openLanes, WEIGHTS, type Lane } from './lane.js';
import { measureAttention, measureUnit } from './measure.js';
import { Progress } from './progress.js';
import { pictureBytes, resolveEntry, type PictureBytes, type Resolved } from './resolve.js';
import { planUnit, scenesDrawn, SUITES, unitsOf, type SuiteName, type Unit } from './suites.js';
import { checkSplit, type Series } from './workload.js';

export interface EvalOptions extends Series {
  readonly model: string;
  /** What is compared with raw, which is measured in any case. */
  readonly entries: readonly Entry[];
  /** Scenes of each suite; 0 leaves it out. */
  readonly scenes: Readonly<Record<SuiteName, number>>;
  readonly questionsPerScene: number;
  /** 0: as many as the process may run on. */
  readonly threads: number;
  /** Where results are kept as they come, and taken up again. */
  readonly journal: string;
  /** Journals of other processes, whose results are taken over first. */
  readonly merge?: readonly string[];
  /** Measures every `of`-th unit of work only, from number `index` on. */
  readonly shard?: Shard;
}

/** One of several processes, from 0, that share a run. */
export interface Shard {
  readonly index: number;
  readonly of: number;
}

export interface EvalReport {
  readonly command: string;
  readonly commit: string;
  readonly date: string;
  /** Those that measured, not the one that put the report together. */
  readonly machines: readonly string[];
  readonly modelRevision: string;
  readonly weights: string;
  readonly kvDtype: string;
  readonly seed: number;
  readonly artwork: string;
  /** Part of each scene, as `2x4`; all of it when absent. */
  readonly crop?: string;
  readonly scenes: Readonly<Record<SuiteName, number>>;
  readonly picture: PictureBytes;
  /** Highest resident set of a measuring process, all entries together. */
  readonly peakResidentBytes: number;
  readonly entries: readonly EntryReport[];
}

const cropName = ({ rows, cols }: SceneCrop) => `${rows}x${cols}`;

/** What results depend on besides entry, suite and scene; results of another build do not mix with these. */
async function runIdentity(options: EvalOptions, engine: Engine): Promise<Record<string, string>> {
  const addon = createHash('sha256')
    .update(await readFile(addonPath()))
    .digest('hex');
  return {
    'model revision': engine.modelRevision,
    'engine build': addon,
    seed: String(options.seed),
    artwork: options.artwork,
    ...(options.crop && { crop: cropName(options.crop) }),
    'number of questions a scene': String(options.questionsPerScene),
  };
}

/**
 * Another engine is asked about one picture at a time; what an ablation leaves out shows in the plain questions;
 * and inside attention there is nothing to see but formats of the engine.
 */
function takesPart({ entry, remote, format }: Resolved, suite: SuiteName): boolean {
  if (suite === 'questions') return true;
  if (remote !== undefined || entry.group === 'ablation') return false;
  return suite !== 'attention' || format !== undefined;
}

/** Scenes of a suite, from number 0 on, that an entry is measured on. */
const scenesOf = ({ scenes }: EvalOptions, suite: SuiteName, entry: Entry) =>
  suite === 'questions' ? Math.max(scenes.questions, entry.scenes ?? 0) : scenes[suite];

/** What raw is measured on, for every entry to be paired with. */
const mostScenes = (options: EvalOptions, suite: SuiteName) =>
  Math.max(...[RAW_ENTRY, ...options.entries].map((entry) => scenesOf(options, suite, entry)));

function isMissing(journal: Journal, options: EvalOptions, { suite, scenes }: Unit, one: Resolved): boolean {
  const wanted = isBaseline(one.entry) ? mostScenes(options, suite) : scenesOf(options, suite, one.entry);
  const lacks = (scene: number) => scene < wanted && journal.find(one.key, suite, scene) === undefined;
  return takesPart(one, suite) && scenes.some(lacks);
}

/** Measures what the journal lacks of a unit; all its scenes at once, so that a run that was stopped and one
 * that was not do the same steps. */
async function measureMissing(
  lane: Lane,
  options: EvalOptions,
  unit: Unit,
  resolved: readonly Resolved[],
  journal: Journal,
): Promise<void> {
  const missing = resolved.filter((one) => isMissing(journal, options, unit, one));
  const baseline = resolved.find(({ entry }) => isBaseline(entry));
  if (missing.length === 0 || baseline === undefined) return;
  const plan = await planUnit(lane.base.prompts, options, unit, options.questionsPerScene);
  if (unit.suite === 'attention') {
    const cosines = await measureAttention(lane, plan, missing);
    await journal.add(
      missing.flatMap(({ key }) =>
        [...(cosines.get(key) ?? [])].map(([scene, ofScene]) => ({
          entry: key,
          suite: unit.suite,
          scene,
          outcomes: [],
          cosines: ofScene,
        })),
      ),
    );
    return;
  }
  const outcomes = await measureUnit(lane, plan, baseline.key, missing);
  const records: SceneRecord[] = missing.flatMap(({ key }) =>
    unit.scenes.map((scene) => ({
      entry: key,
      suite: unit.suite,
      scene,
      outcomes: (outcomes.get(key) ?? []).flatMap((one) => (one.scene === scene ? [one.outcome] : [])),
    })),
  );
  await journal.add(records);
}

async function measureAll(
  lanes: readonly Lane[],
  options: EvalOptions,
  resolved: readonly Resolved[],
  journal: Journal,
  report: (line: string) => void,
): Promise<void> {
  const { index, of } = options.shard ?? { index: 0, of: 1 };
  const open = SUITES.flatMap((suite) => unitsOf(suite, mostScenes(options, suite)))
    .filter((_, number) => number % of === index)
    .filter((unit) => resolved.some((one) => isMissing(journal, options, unit, one)));
  if (open.length === 0) return;
  const progress = new Progress(open.length);
  let next = 0;
  const work = async (lane: Lane) => {
    for (let unit = open[next++]; unit !== undefined; unit = open[next++]) {
      await measureMissing(lane, options, unit, resolved, journal);
      report(`${unit.suite}: ${progress.advance()}`);
    }
  };
  await Promise.all(lanes.map(work));
  await journal.close(machineName(), process.resourceUsage().maxRSS * 1024);
}

function recordsOf(journal: Journal, suite: SuiteName, one: Resolved, scenes: number): SceneRecord[] {
  if (!takesPart(one, suite)) return [];
  return Array.from({ length: scenes }, (_, scene) => journal.find(one.key, suite, scene)).filter(
    (record) => record !== undefined,
  );
}

/**
 * Measures what the journal lacks, in so many lanes as threads are wanted, and hands on what there is to report.
 */
async function withResults<T>(
  options: EvalOptions,
  report: (line: string) => void,
  use: (lane: Lane, resolved: readonly Resolved[], journal: Journal) => Promise<T>,
): Promise<T> {
  const profiles = [...new Set(options.entries.flatMap(({ profile }) => profile ?? []))];
  const edges = [...new Set(options.entries.flatMap(({ longestEdge }) => longestEdge ?? []))];
  const weights = [...new Set(options.entries.flatMap((entry) => entry.weights ?? []))];
  const count = options.threads === 0 ? availableParallelism() : options.threads;
  const lanes = await openLanes(options.model, count, profiles, edges, weights);
  try {
    const [lane] = lanes;
    if (lane === undefined) throw new RangeError('no lane');
    const { engine } = lane.base;
    const drawn = SUITES.flatMap((suite) => scenesDrawn(suite, mostScenes(options, suite)));
    checkSplit(options, drawn, engine.profiles);
    const resolved: Resolved[] = [];
    for (const entry of [RAW_ENTRY, ...options.entries]) {
      resolved.push(await resolveEntry(lane, options, entry));
    }
    const journal = await Journal.open(options.journal, await runIdentity(options, engine));
    await journal.merge(options.merge ?? []);
    await measureAll(lanes, options, resolved, journal, report);
    return await use(lane, resolved, journal);
  } finally {
    await closeLanes(lanes);
  }
}

/**
 * One shard's part of the work, into its journal.
 *
 * @throws KvcError as {@link evaluate}
 */
export function measureShard(options: EvalOptions, report: (line: string) => void): Promise<void> {
  return withResults(options, report, () => Promise.resolve());
}

/**
 * Fidelity of entries against raw KV on the same questions about generated scenes.
 *
 * @throws KvcError MODEL_INVALID, PROFILE_INVALID or CONFIG_INVALID naming what to correct
 */
export function evaluate(
  options: EvalOptions,
  command: string,
  report: (line: string) => void,
): Promise<EvalReport> {
  return withResults(options, report, async ({ base }, resolved, journal) => {
    const picture = await pictureBytes(base, options);
    return {
      command,
      commit: await commitOf(),
      date: new Date().toISOString().slice(0, 10),
      machines: journal.machines,
      modelRevision: base.engine.modelRevision,
      weights: WEIGHTS,
      kvDtype: KV_DTYPE,
      seed: options.seed,
      artwork: options.artwork,
      ...(options.crop && { crop: cropName(options.crop) }),
      scenes: options.scenes,
      picture,
      peakResidentBytes: journal.peakResidentBytes,
      entries: reportEntries(resolved, picture, {
        own: (one, suite) => recordsOf(journal, suite, one, scenesOf(options, suite, one.entry)),
        raw: (one, suite) => recordsOf(journal, suite, one, mostScenes(options, suite)),
      }),
    };
  });
}
