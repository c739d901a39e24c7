/** A series that Prometheus computes once, so that panels and alerts need not. */
export interface RecordingRule {
  /** `level:metric:operation`, as Prometheus' practice is. */
  readonly record: string;
  readonly expr: string;
}

export interface RuleGroup<Rule> {
  readonly name: string;
  readonly rules: readonly Rule[];
}
