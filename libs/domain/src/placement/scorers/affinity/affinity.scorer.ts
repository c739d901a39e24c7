import { wholeTokens } from '../../cost-model.js';
import type { Scorer, WorkerView } from '../../placement.js';
import { home } from './rendezvous.js';

/** Of a conversation's requests about half begin with what an earlier one left. */
const LIKELY = 0.5;

/** What a request may find at the home of its session, where nobody knows what workers hold; see README.md. */
export const affinity: Scorer = {
  name: 'affinity',
  over(request, candidates) {
    if (request.session === undefined) return undefined;
    const at: WorkerView | undefined = home(request.session, candidates);
    const away = LIKELY * wholeTokens(request);
    return (worker, held) => (held ? undefined : worker === at ? 0 : away);
  },
};
