import type { StepCosts, StepWork } from './step-costs.js';

export interface TimedStep {
  readonly work: StepWork;
  readonly ms: number;
}

export interface TimedPicture {
  readonly tiles: number;
  readonly ms: number;
}

/** The costs that come nearest to what was measured: by relative error, so that short steps count as much as long ones. */
export function fitCosts(steps: readonly TimedStep[], pictures: readonly TimedPicture[]): StepCosts {
  const [stepMs = 0, prefillRowMs = 0, decodeRowMs = 0, prefillAttendedMs = 0, decodeAttendedMs = 0] =
    nearest(
      steps.map(({ work, ms }) => ({
        inputs: [1, work.prefillRows, work.decodeRows, work.prefillAttended, work.decodeAttended],
        ms,
      })),
    );
  const [pictureMs = 0, tileMs = 0] = nearest(pictures.map(({ tiles, ms }) => ({ inputs: [1, tiles], ms })));
  return {
    ...{ stepMs, prefillRowMs, decodeRowMs, prefillAttendedMs, decodeAttendedMs },
    ...{ pictureMs, tileMs },
  };
}

interface Measured {
  readonly inputs: readonly number[];
  readonly ms: number;
}

const ROUNDS = 20_000;

/** Coefficients of at least 0 with the least sum of squared relative errors, by coordinate descent. */
function nearest(measured: readonly Measured[]): number[] {
  const rows = measured.map(({ inputs, ms }) => inputs.map((input) => input / ms));
  const coefficients = (rows[0] ?? []).map(() => 0);
  const errors = rows.map(() => 1);
  for (let round = 0; round < ROUNDS; round += 1) {
    coefficients.forEach((before, column) => {
      const along = rows.map((row) => row[column] ?? 0);
      const squares = along.reduce((sum, each) => sum + each * each, 0);
      if (squares === 0) return;
      const slope = along.reduce((sum, each, at) => sum + each * (errors[at] ?? 0), 0);
      const after = Math.max(0, before + slope / squares);
      coefficients[column] = after;
      along.forEach((each, at) => (errors[at] = (errors[at] ?? 0) - each * (after - before)));
    });
  }
  return coefficients;
}
