import { z } from 'zod';

/** Node's timers take no longer one, 24.8 days: what is above fires after 1 ms. */
const MOST_TIMER_MS = 2_147_483_647;

/**
 * Milliseconds that a timer may wait.
 *
 * @param leastMs 0 where no waiting at all is a choice
 */
export const durationMs = (leastMs: 0 | 1 = 1) =>
  z.int().min(leastMs).max(MOST_TIMER_MS, `at most ${MOST_TIMER_MS} ms, which is 24 days`);
