import { towerTokens } from '../../cost-model.js';
import type { Scorer } from '../../placement.js';

/** What the tower takes for the pictures of which the worker has neither KV nor features; see README.md. */
export const picture: Scorer = {
  name: 'picture',
  over: (request) =>
    request.pictures === 0
      ? undefined
      : (_worker, held, costs, at) => {
          costs[at] = towerTokens(request, held);
        },
};
