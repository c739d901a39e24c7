import { type AlertCase, ILL_MINUTES, WELL_MINUTES } from './cases.js';

/** Samples a minute apart, in the notation of promtool. */
function values({ well, ill, counts }: AlertCase['courses'][number], afterMinutes: number): string {
  const phases = [
    { minutes: WELL_MINUTES, each: well },
    { minutes: ILL_MINUTES, each: ill },
    { minutes: afterMinutes + 1, each: well },
  ];
  let sum = 0;
  return phases
    .flatMap(({ minutes, each }) =>
      Array.from({ length: minutes }, () => {
        if (each === undefined) return '_';
        sum += each;
        return String(counts ? sum : each);
      }),
    )
    .join(' ');
}

/** A test of promtool: silent while all is well, firing at the end of the fault, silent again after it. */
export function promtoolTest({ alert, severity, courses, clearsAfterMinutes = 60 }: AlertCase): object {
  const fires = `count(ALERTS{alertname="${alert}",severity="${severity}",alertstate="firing"}) or vector(0)`;
  const at = (minutes: number, value: number): object => ({
    expr: fires,
    eval_time: `${String(minutes)}m`,
    exp_samples: [{ labels: '{}', value }],
  });
  const end = WELL_MINUTES + ILL_MINUTES;
  return {
    name: `${alert}, ${severity}`,
    interval: '1m',
    input_series: courses.map((course) => ({
      series: course.series,
      values: values(course, clearsAfterMinutes),
    })),
    promql_expr_test: [at(WELL_MINUTES - 1, 0), at(end - 1, 1), at(end + clearsAfterMinutes, 0)],
  };
}
