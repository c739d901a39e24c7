import type { QuestionKind } from '@kvcapsule/testing';

/** What one codec did with one question. */
export interface Outcome {
  readonly kind: QuestionKind;
  readonly correct: boolean;
  /** KL(raw || codec) in nats per answer token, along raw's answer. Empty for raw itself. */
  readonly klNats: readonly number[];
  /** Answer tokens where the codec's best token is raw's. */
  readonly agreed: number;
}

export interface CodecSummary {
  readonly codec: string;
  readonly questions: number;
  readonly correct: number;
  readonly accuracy: number;
  readonly standardError: number;
  readonly byKind: Readonly<Record<string, { readonly correct: number; readonly questions: number }>>;
  /** Against raw; absent for raw. */
  readonly againstRaw?: {
    /** Raw's accuracy minus this one's, in points. */
    readonly dropPoints: number;
    /** Questions only raw, and only this codec, answers right. */
    readonly lost: number;
    readonly won: number;
    readonly answerTokens: number;
    readonly klMeanNats: number;
    readonly klP99Nats: number;
    readonly top1Agreement: number;
  };
}

/** KL(p || q) in nats of two rows of logits. */
export function klNats(p: Float32Array, q: Float32Array): number {
  const logNormaliser = (logits: Float32Array) => {
    const top = logits.reduce((best, value) => Math.max(best, value), -Infinity);
    return top + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - top), 0));
  };
  const shift = logNormaliser(q) - logNormaliser(p);
  const normaliserP = logNormaliser(p);
  let sum = 0;
  for (const [index, logit] of p.entries()) {
    sum += Math.exp(logit - normaliserP) * (logit - (q[index] ?? Number.NaN) + shift);
  }
  // Rounding alone can make it negative by some 1e-8.
  return Math.max(0, sum);
}

export function argmax(logits: Float32Array): number {
  return logits.reduce((best, value, index) => (value > (logits[best] ?? -Infinity) ? index : best), 0);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

function compare(raw: readonly Outcome[], other: readonly Outcome[]): CodecSummary['againstRaw'] {
  const kls = other.flatMap((outcome) => outcome.klNats);
  const only = (right: readonly Outcome[], wrong: readonly Outcome[]) =>
    right.filter((outcome, index) => outcome.correct && wrong[index]?.correct === false).length;
  const [lost, won] = [only(raw, other), only(other, raw)];
  return {
    dropPoints: (100 * (lost - won)) / raw.length,
    lost,
    won,
    answerTokens: kls.length,
    klMeanNats: mean(kls),
    klP99Nats: quantile(kls, 0.99),
    top1Agreement: other.reduce((sum, outcome) => sum + outcome.agreed, 0) / kls.length,
  };
}

/** `outcomes` in the order of the questions; `raw`, the same questions' uncompressed outcomes. */
export function summarise(
  codec: string,
  outcomes: readonly Outcome[],
  raw: readonly Outcome[] | undefined,
): CodecSummary {
  const byKind: Record<string, { correct: number; questions: number }> = {};
  for (const { kind, correct } of outcomes) {
    const counts = (byKind[kind] ??= { correct: 0, questions: 0 });
    counts.questions++;
    if (correct) counts.correct++;
  }
  const correct = outcomes.filter((outcome) => outcome.correct).length;
  const accuracy = correct / outcomes.length;
  const againstRaw = raw && compare(raw, outcomes);
  return {
    codec,
    questions: outcomes.length,
    correct,
    accuracy,
    standardError: Math.sqrt((accuracy * (1 - accuracy)) / outcomes.length),
    byKind,
    ...(againstRaw && { againstRaw }),
  };
}
