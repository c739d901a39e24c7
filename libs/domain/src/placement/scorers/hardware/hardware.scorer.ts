import { wholeTokens } from '../../cost-model.js';
import type { Scorer } from '../../placement.js';

/** Whatever was computed elsewhere is of no use on a worker of another arithmetic or precision; see README.md. */
export const hardware: Scorer = {
  name: 'hardware',
  over(request) {
    const { prefers } = request;
    if (!prefers) return undefined;
    const { arithmetic, precision } = prefers;
    const whole = wholeTokens(request);
    return ({ record }, _held, costs, at) => {
      const isAlike =
        (arithmetic === undefined || record.arithmetic === arithmetic) &&
        (precision === undefined || record.precision === precision);
      costs[at] = isAlike ? 0 : whole;
    };
  },
};
