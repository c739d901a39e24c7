import { QUESTION_KINDS, type QuestionKind } from '@kvcapsule/testing';
import { isBaseline, type Entry } from './entries.js';
import type { SceneRecord } from './journal.js';
import type { EntryBytes, PartKept, PictureBytes, Resolved } from './resolve.js';
import { quantile } from '../statistics/statistics.js';
import { pairUp, summarise, type Pair, type Summary } from './summary.js';
import type { SuiteName } from './suites.js';

/** Answer tokens by how far along the answer they stand. */
export interface PositionKl {
  readonly from: number;
  readonly to: number;
  readonly tokens: number;
  readonly klMean: number;
  readonly klP99: number;
}

export interface EntryReport {
  readonly name: string;
  readonly codec: string;
  readonly group: Entry['group'];
  readonly definesHard: boolean;
  readonly claim?: Entry['claim'];
  /** By layer, keys and values; empty without a profile. */
  readonly kept: readonly PartKept[];
  /** Absent, with the ratios, for another engine that does not tell. */
  readonly bytes?: EntryBytes;
  /** Raw bytes of the picture's tokens over held bytes; with the shared bytes divided among n pictures. */
  readonly ratio?: number;
  readonly ratioShared?: Readonly<Record<'1' | '10' | '100', number>>;
  readonly questions: Summary;
  /** On questions that the entry marked `hard` gets wrong; absent without one. */
  readonly hard?: Summary;
  readonly byKind: Readonly<Partial<Record<QuestionKind, Summary>>>;
  readonly byPosition: readonly PositionKl[];
  /** Mean cosine with raw's attention output, `[layer]`; see {@link COSINES}. */
  readonly attention: readonly (readonly number[])[];
  readonly conversations: readonly { readonly turn: number; readonly summary: Summary }[];
  readonly several: readonly {
    readonly pictures: number;
    readonly place: number;
    readonly summary: Summary;
  }[];
}

/** Records of a suite, in the order of the scenes: of what an entry is asked, and raw's on all that any is. */
type Records = Readonly<Record<'own' | 'raw', (one: Resolved, suite: SuiteName) => readonly SceneRecord[]>>;

/** Halving what an answer holds: a word, a cell, a short list, a long one. */
const POSITIONS = [0, 2, 4, 8, 16, 32, 96] as const;

function ratios(bytes: EntryBytes, rawBytes: number): Pick<EntryReport, 'bytes' | 'ratio' | 'ratioShared'> {
  const at = (pictures: number) => rawBytes / (bytes.heldBytes + bytes.sharedBytes / pictures);
  return { bytes, ratio: at(Infinity), ratioShared: { 1: at(1), 10: at(10), 100: at(100) } };
}

/** What another engine told of its pictures; every one of the series holds the same. */
function toldRatio(pairs: readonly Pair[]): Pick<EntryReport, 'ratio'> {
  const told = pairs.find(({ own }) => own.pictureBytes)?.own.pictureBytes;
  return told === undefined ? {} : { ratio: told.raw / told.held };
}

function byPosition(pairs: readonly Pair[]): PositionKl[] {
  return POSITIONS.slice(0, -1).flatMap((from, index) => {
    const to = POSITIONS[index + 1] ?? from;
    const kls = pairs.flatMap(({ own }) => own.klNats.slice(from, to));
    if (kls.length === 0) return [];
    const klMean = kls.reduce((sum, kl) => sum + kl, 0) / kls.length;
    return [{ from, to, tokens: kls.length, klMean, klP99: quantile(kls, 0.99) }];
  });
}

function groupBy<K extends number>(pairs: readonly Pair[], keyOf: (pair: Pair) => K): [K, Pair[]][] {
  const groups = new Map<K, Pair[]>();
  for (const pair of pairs) {
    const key = keyOf(pair);
    groups.set(key, [...(groups.get(key) ?? []), pair]);
  }
  return [...groups].sort(([a], [b]) => a - b);
}

/** Questions, as `scene/index`, that the entry marked `hard` gets wrong. */
function hardQuestions(resolved: readonly Resolved[], records: Records): ReadonlySet<string> | undefined {
  const hard = resolved.find(({ entry }) => entry.hard);
  if (hard === undefined) return undefined;
  return new Set(
    records
      .own(hard, 'questions')
      .flatMap(({ scene, outcomes }) =>
        outcomes.flatMap(({ correct }, index) => (correct ? [] : [`${scene}/${index}`])),
      ),
  );
}

function onlyQuestions(records: readonly SceneRecord[], wanted: ReadonlySet<string>): SceneRecord[] {
  return records.map((record) => ({
    ...record,
    outcomes: record.outcomes.filter((_, index) => wanted.has(`${record.scene}/${index}`)),
  }));
}

function meanCosines(records: readonly SceneRecord[]): number[][] {
  const all = records.flatMap(({ cosines }) => cosines ?? []);
  const samples = all.reduce((sum, cosines) => sum + cosines.samples, 0);
  return (all[0]?.sums ?? []).map((columns, layer) =>
    columns.map(
      (_, column) => all.reduce((sum, { sums }) => sum + (sums[layer]?.[column] ?? 0), 0) / samples,
    ),
  );
}

function reportEntry(
  one: Resolved,
  raw: Resolved | undefined,
  picture: PictureBytes,
  records: Records,
  hard: ReadonlySet<string> | undefined,
): EntryReport {
  const { entry, codec, bytes, kept } = one;
  const baseline = isBaseline(entry);
  const own = (suite: SuiteName) => records.own(one, suite);
  const raws = (suite: SuiteName) => (raw === undefined ? [] : records.raw(raw, suite));
  const pairsOf = (suite: SuiteName) => pairUp(own(suite), raws(suite));
  const pairs = pairsOf('questions');
  const ofKind = (kind: QuestionKind) => pairs.filter(({ own }) => own.kind === kind);
  const hardPairs =
    hard && pairUp(onlyQuestions(own('questions'), hard), onlyQuestions(raws('questions'), hard));
  return {
    name: entry.name,
    codec,
    group: entry.group,
    definesHard: entry.hard === true,
    ...(entry.claim && { claim: entry.claim }),
    kept,
    ...(bytes && ratios(bytes, picture.rawBytes)),
    ...toldRatio(pairs),
    questions: summarise(pairs, baseline),
    ...(hardPairs && { hard: summarise(hardPairs, baseline) }),
    byKind: Object.fromEntries(
      QUESTION_KINDS.filter((kind) => ofKind(kind).length > 0).map((kind) => [
        kind,
        summarise(ofKind(kind), baseline),
      ]),
    ),
    byPosition: byPosition(pairs),
    attention: meanCosines(own('attention')),
    conversations: groupBy(pairsOf('conversations'), ({ own }) => own.turn ?? 0).map(([turn, some]) => ({
      turn,
      summary: summarise(some, baseline),
    })),
    several: groupBy(pairsOf('several'), ({ own }) => (own.pictures ?? 0) * 100 + (own.place ?? 0)).map(
      ([arrangement, some]) => ({
        pictures: Math.floor(arrangement / 100),
        place: arrangement % 100,
        summary: summarise(some, baseline),
      }),
    ),
  };
}

export function reportEntries(
  resolved: readonly Resolved[],
  picture: PictureBytes,
  records: Records,
): EntryReport[] {
  const raw = resolved.find(({ entry }) => isBaseline(entry));
  const hard = hardQuestions(resolved, records);
  return resolved.map((one) => reportEntry(one, raw, picture, records, hard));
}
