import { METRICS } from '@kvcapsule/platform/telemetry';
import { describe, expect, it } from 'vitest';

import { OBJECTIVES } from './slo.js';

describe('objectives', () => {
  it('have bounds that the histograms have, or no ratio could be told from buckets', () => {
    const { timeToFirstToken, interTokenLatency } = METRICS.router;
    expect(timeToFirstToken.buckets).toContain(OBJECTIVES.firstToken.withinSeconds);
    expect(interTokenLatency.buckets).toContain(OBJECTIVES.nextToken.withinSeconds);
  });
});
