import { setTimeout as sleep } from 'node:timers/promises';
import { BOARDS, chosen, panelsOf, queriesOf, unchosen } from '@kvcapsule/observability';
import { type Range, type Series } from '@kvcapsule/testing/prometheus';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ObservedCluster } from './observed-cluster.js';

/** Long enough for a rate over scrapes of one second. */
const RATE_SECONDS = 5;
const REQUESTS = 40;
/** A quick machine has answered these before two scrapes have seen any of them. */
const AT_LEAST_MS = 4_000 * RATE_SECONDS;

let observed: ObservedCluster;
/** Before anything goes wrong; the limit of a tenant refuses requests from the start. */
let well: Range;
beforeAll(async () => {
  observed = await ObservedCluster.start();
  await observed.load(async () => {
    await sleep(AT_LEAST_MS);
    const end = Date.now() + 120_000;
    // the slower the machine, the longer it takes until everything has happened more than once
    while (observed.served < REQUESTS && Date.now() < end) await sleep(200);
    well = observed.range();
    await observed.pauseStore(6_000);
    await sleep(2_000);
    await observed.killWorker();
    await sleep(6_000);
  });
}, 300_000);
afterAll(() => observed.stop());

const hasData = (series: readonly Series[]): boolean =>
  series.some(({ samples }) => samples.some(({ value }) => Number.isFinite(value)));

const panels = BOARDS.flatMap((board) =>
  panelsOf(board).map((panel) => ({ name: `${board.name}: ${panel.title}`, panel })),
);

describe('in a cluster under load, in which a worker dies and the store stands still', () => {
  it('every target is scraped', async () => {
    expect(await observed.prometheus.brokenTargets()).toEqual([]);
  });

  it.each(panels)('$name has data, before the faults too unless it is about them', async ({ panel }) => {
    for (const { expr, mayBeEmpty } of queriesOf(panel)) {
      const answers = (range: Range): Promise<Series[]> => {
        const shown = range.endSeconds - range.startSeconds;
        return observed.prometheus.query(unchosen(chosen(expr), RATE_SECONDS, shown), range);
      };
      expect(hasData(await answers(observed.range())), expr).toBe(true);
      if (mayBeEmpty === undefined) expect(hasData(await answers(well)), expr).toBe(true);
    }
  });
});
