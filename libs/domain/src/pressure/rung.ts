import type { StepBudget } from '../scheduling/budget.js';
import type { Draft } from '../scheduling/draft.js';
import type { SchedulerState } from '../scheduling/state.js';

/** What the running sequences' next rows take. */
export interface Need {
  readonly budget: StepBudget;
  readonly blocks: number;
  /** More than there is. */
  readonly short: boolean;
}

/** What a rung would do now. */
export interface Relief {
  /** It takes nothing from running sequences. */
  readonly idle: boolean;
  act(): void;
}

/** One way to get pages; `undefined` where it has none to give or is not asked for any. Looks only. */
export type Rung = (state: SchedulerState, draft: Draft, need: Need) => Relief | undefined;
