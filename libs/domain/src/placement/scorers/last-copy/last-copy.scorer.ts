import type { Scorer } from '../../placement.js';

/** What others will have to compute again when this request takes its place; see README.md. */
export const lastCopy: Scorer = {
  name: 'last-copy',
  over: (request) => (request.lastCopies ? (worker) => request.lastCopies?.(worker) : undefined),
};
