/** One metric, declared once. `docs/reference/metrics.md` is made of the same entries. */
export type MetricSpec =
  | {
      readonly name: string;
      readonly help: string;
      readonly type: 'counter' | 'gauge';
      readonly labels: readonly string[];
      /** What several processes of one router make of it; a sum where nothing is said. */
      readonly together?: 'max';
    }
  | {
      readonly name: string;
      readonly help: string;
      readonly type: 'histogram';
      readonly labels: readonly string[];
      /** Upper bounds, in the metric's unit. */
      readonly buckets: readonly number[];
    };
