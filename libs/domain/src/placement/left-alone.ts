import { breaker } from './filters/filters.js';
import type { Decision } from './placement.js';

/**
 * Whether breakers alone keep a request from every worker that could take it at this moment or soon: then they say more
 * about the requests, or about what all workers depend on, than about the workers, and are to be ignored.
 */
export function isLeftToNobody({ candidates, rejected }: Pick<Decision, 'candidates' | 'rejected'>): boolean {
  if (candidates.length > 0) return false;
  const passing = [...rejected.keys()].filter(({ passes }) => passes);
  return passing.length === 1 && passing[0] === breaker;
}
