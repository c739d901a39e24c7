import { QUESTION_KINDS, type QuestionKind } from '@kvcapsule/testing';
import type { SceneRecord } from './journal.js';
import type { Outcome } from './measure.js';
import {
  clusteredRatio,
  pairedDifference,
  quantile,
  type Cluster,
  type Estimate,
} from '../statistics/statistics.js';

/** Right answers of some questions. */
export interface Score {
  readonly correct: number;
  readonly questions: number;
}

/** One entry against raw on the same questions. */
export interface Comparison {
  /** Accuracy of the entry minus raw's, in points; below nought is worse than raw. */
  readonly differencePoints: Estimate;
  /** Questions that only raw, and that only the entry, answers right. */
  readonly lost: number;
  readonly won: number;
  readonly answerTokens: number;
  /** Nats per token of raw's answers. */
  readonly klMean: Estimate;
  readonly klP99: number;
  readonly top1Agreement: Estimate;
}

export interface Summary extends Score {
  readonly accuracy: Estimate;
  readonly byKind: Readonly<Partial<Record<QuestionKind, Score>>>;
  /** Absent for raw itself. */
  readonly againstRaw?: Comparison;
}

/** A question's outcome under an entry and under raw. */
export interface Pair {
  readonly scene: number;
  readonly own: Outcome;
  readonly raw: Outcome;
}

/** Both entries' records of the same scenes, question by question. */
export function pairUp(own: readonly SceneRecord[], raw: readonly SceneRecord[]): Pair[] {
  const rawOf = new Map(raw.map((record) => [record.scene, record.outcomes]));
  return own.flatMap(({ scene, outcomes }) =>
    outcomes.flatMap((outcome, index) => {
      const paired = rawOf.get(scene)?.[index];
      return paired === undefined ? [] : [{ scene, own: outcome, raw: paired }];
    }),
  );
}

function clustersOf(
  pairs: readonly Pair[],
  term: (pair: Pair) => { readonly sum: number; readonly weight: number },
): Cluster[] {
  const clusters = new Map<number, { sum: number; weight: number }>();
  for (const pair of pairs) {
    const cluster = clusters.get(pair.scene) ?? { sum: 0, weight: 0 };
    const { sum, weight } = term(pair);
    cluster.sum += sum;
    cluster.weight += weight;
    clusters.set(pair.scene, cluster);
  }
  return [...clusters.values()];
}

const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
const scaled = ({ value, low, high }: Estimate, by: number): Estimate => ({
  value: value * by,
  low: low * by,
  high: high * by,
});

function compare(pairs: readonly Pair[]): Comparison {
  const lost = pairs.filter(({ own, raw }) => raw.correct && !own.correct).length;
  const won = pairs.filter(({ own, raw }) => own.correct && !raw.correct).length;
  const kls = pairs.flatMap(({ own }) => own.klNats);
  const difference = clustersOf(pairs, ({ own, raw }) => ({
    sum: Number(own.correct) - Number(raw.correct),
    weight: 1,
  }));
  const kl = clustersOf(pairs, ({ own }) => ({ sum: total(own.klNats), weight: own.klNats.length }));
  const agreement = clustersOf(pairs, ({ own }) => ({ sum: own.agreed, weight: own.klNats.length }));
  return {
    differencePoints: scaled(pairedDifference(difference, lost + won), 100),
    lost,
    won,
    answerTokens: kls.length,
    klMean: clusteredRatio(kl),
    klP99: quantile(kls, 0.99),
    top1Agreement: clusteredRatio(agreement),
  };
}

/** @param baseline whether the pairs are raw with itself */
export function summarise(pairs: readonly Pair[], baseline: boolean): Summary {
  const correct = pairs.filter(({ own }) => own.correct).length;
  const byKind: Partial<Record<QuestionKind, Score>> = {};
  for (const kind of QUESTION_KINDS) {
    const ofKind = pairs.filter(({ own }) => own.kind === kind);
    if (ofKind.length === 0) continue;
    byKind[kind] = { correct: ofKind.filter(({ own }) => own.correct).length, questions: ofKind.length };
  }
  return {
    correct,
    questions: pairs.length,
    accuracy: clusteredRatio(clustersOf(pairs, ({ own }) => ({ sum: Number(own.correct), weight: 1 }))),
    byKind,
    ...(!baseline && pairs.length > 0 && { againstRaw: compare(pairs) }),
  };
}
