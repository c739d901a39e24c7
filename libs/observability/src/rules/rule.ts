/** A series that Prometheus computes once, so that panels and alerts need not. */
export interface RecordingRule {
  /** `level:metric:operation`, as Prometheus' practice is. */
  readonly record: string;
  readonly expr: string;
}

export interface AlertRule {
  /** Begins with `KVCapsule`; the rest names its page of the runbook. */
  readonly alert: string;
  readonly expr: string;
  /** How long it must hold before it fires, as Prometheus writes durations; at once where nothing is said. */
  readonly for?: string;
  /** `critical` wakes somebody, `warning` waits for the morning. */
  readonly severity: 'critical' | 'warning';
  readonly summary: string;
  readonly description: string;
}

export interface RuleGroup<Rule> {
  readonly name: string;
  readonly rules: readonly Rule[];
}
