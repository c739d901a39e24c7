import { type StepPlan, TOKEN_DRAWN_BEFORE } from '@kvcapsule/engine';

import type { PlanRow } from './read-plan.js';

/** What the last step with rows drew, for the rows of the next one that name it. */
export class DrawnBefore {
  /** By slot. */
  #drawn = new Map<number, { readonly position: number; readonly token: number }>();

  /** Rows with the tokens that the step before drew. */
  fill(rows: readonly PlanRow[]): PlanRow[] {
    return rows.map((row) => {
      if (row.token !== TOKEN_DRAWN_BEFORE) return row;
      const drawn = this.#drawn.get(row.slot);
      if (drawn?.position !== row.position) throw new Error('nothing was drawn there');
      return { ...row, token: drawn.token };
    });
  }

  /** A step with rows forgets what the one before drew, also where it fails. */
  forget(rows: readonly PlanRow[]): void {
    if (rows.length > 0) this.#drawn.clear();
  }

  /** @param drawn of each of the plan's samples */
  keep({ samples }: Pick<StepPlan, 'samples'>, rows: readonly PlanRow[], drawn: Int32Array): void {
    samples.forEach((row, index) => {
      const { slot = -1, position = 0 } = rows[row] ?? {};
      this.#drawn.set(slot, { position: position + 1, token: drawn[index] ?? 0 });
    });
  }
}
