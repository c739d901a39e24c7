import { RUNG_NAMES, type RungName } from '../scheduling/accounts.js';
import type { StepBudget } from '../scheduling/budget.js';
import type { Draft } from '../scheduling/draft.js';
import type { SchedulerState } from '../scheduling/state.js';
import { evict } from './evict/evict.js';
import { preempt } from './preempt/preempt.js';
import { recompressPictures } from './recompress-pictures/recompress-pictures.js';
import { recompressText } from './recompress-text/recompress-text.js';
import type { Need, Relief, Rung } from './rung.js';
import { swap } from './swap/swap.js';

const LADDER: Readonly<Record<RungName, Rung>> = {
  evict,
  recompress_pictures: recompressPictures,
  swap,
  recompress_text: recompressText,
  preempt,
};

export interface Relieved {
  readonly budget: StepBudget;
  /** No running sequence had to give anything up. */
  readonly roomy: boolean;
}

/** Goes down the ladder until the running sequences' next rows fit. */
export function relieve(state: SchedulerState, draft: Draft): Relieved {
  for (let roomy = true; ; roomy = false) {
    const { relief, need } = nextRelief(state, draft);
    if (!relief) return { budget: need.budget, roomy };
    relief.act();
  }
}

/** The same where no running sequence may give anything up: `undefined` when one would have to. */
export function withoutRelief(state: SchedulerState, draft: Draft): Relieved | undefined {
  const { relief, need } = nextRelief(state, draft);
  return relief ? undefined : { budget: need.budget, roomy: true };
}

/** The next thing that a running sequence has to give up; idle content goes before. */
function nextRelief(state: SchedulerState, draft: Draft): { relief: Relief | undefined; need: Need } {
  for (;;) {
    const need = needOf(state);
    const relief = firstRelief(state, draft, need);
    if (!relief?.idle) return { relief, need };
    relief.act();
  }
}

function firstRelief(state: SchedulerState, draft: Draft, need: Need): Relief | undefined {
  for (const name of RUNG_NAMES) {
    const relief = LADDER[name](state, draft, need);
    if (!relief) continue;
    const act = (): void => {
      state.counts.rungs[name] += 1;
      relief.act();
    };
    return { idle: relief.idle, act };
  }
  return undefined;
}

function needOf(state: SchedulerState): Need {
  const budget = state.budget();
  const blocks = state.blocksForNext(budget, state.tailRoom());
  return { budget, blocks, short: blocks > state.available };
}
