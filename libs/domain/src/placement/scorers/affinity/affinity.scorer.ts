import { wholeTokens } from '../../cost-model.js';
import type { Scorer, WorkerView } from '../../placement.js';
import { home } from './rendezvous.js';

/** Of a conversation's requests about half begin with what an earlier one left. */
const LIKELY = 0.5;

/** What a request may find at the home of its session, where nobody knows what workers hold; see README.md. */
export const affinity: Scorer = {
  name: 'affinity',
  over(request, candidates) {
    const { session } = request;
    if (session === undefined) return undefined;
    const away = LIKELY * wholeTokens(request);
    // a hash of every candidate's id, which is not needed where all of them tell what they hold
    let chosen: WorkerView | undefined;
    return (worker, held, costs, at) => {
      if (held) return;
      chosen ??= home(session, candidates);
      costs[at] = worker === chosen ? 0 : away;
    };
  },
};
