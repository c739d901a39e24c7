import { missingTokens } from '../../cost-model.js';
import type { Scorer } from '../../placement.js';

/** Tokens of the prompt that the worker has to compute; see README.md. */
export const prefix: Scorer = {
  name: 'prefix',
  over: (request) => (_worker, held, costs, at) => {
    costs[at] = missingTokens(request, held);
  },
};
