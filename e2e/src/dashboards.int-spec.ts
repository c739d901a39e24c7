import { setTimeout as sleep } from 'node:timers/promises';
import { BOARDS, chosen, panelsOf, queriesOf, type Query, unchosen } from '@kvcapsule/observability';
import { type Range } from '@kvcapsule/testing/prometheus';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from './harness.js';
import { ObservedCluster } from './observed-cluster.js';

/** Long enough for a rate over scrapes of one second. */
const RATE_SECONDS = 5;
const REQUESTS = 40;
/** For a state of the cluster to be seen in what is scraped; what is not there by then is missing. */
const SEEN_WITHIN_MS = 150_000;

const panels = BOARDS.flatMap((board) =>
  panelsOf(board).map((panel) => ({ name: `${board.name}: ${panel.title}`, panel })),
);
const queries = panels.flatMap(({ panel }) => queriesOf(panel));
const mustHaveData = ({ mayBeEmpty }: Query): boolean => mayBeEmpty === undefined;

let observed: ObservedCluster;
/** Before anything goes wrong; the limit of a tenant refuses requests from the start. */
let well: Range;

async function hasData({ expr }: Query, range: Range): Promise<boolean> {
  const shown = range.endSeconds - range.startSeconds;
  const series = await observed.prometheus.query(unchosen(chosen(expr), RATE_SECONDS, shown), range);
  return series.some(({ samples }) => samples.some(({ value }) => Number.isFinite(value)));
}

/** Resolves to all that has been once all of the queries have data of it: how soon depends on the machine. */
async function seen(wanted: readonly Query[]): Promise<Range> {
  const end = Date.now() + SEEN_WITHIN_MS;
  let missing = wanted;
  for (;;) {
    const range = observed.range();
    const found = await Promise.all(missing.map((query) => hasData(query, range)));
    missing = missing.filter((_, index) => found[index] === false);
    if (missing.length === 0 || Date.now() > end) return observed.range();
    await sleep(1_000);
  }
}

beforeAll(async () => {
  observed = await ObservedCluster.start();
  await observed.load(async () => {
    const end = Date.now() + SEEN_WITHIN_MS;
    // the slower the machine, the longer it takes until everything has happened more than once
    while (observed.served < REQUESTS && Date.now() < end) await sleep(200);
    well = await seen(queries.filter(mustHaveData));
    await observed.pauseStore(6_000);
    await sleep(2_000);
    await observed.killWorker();
    await seen(queries);
  });
}, 600_000);
afterAll(() => observed.stop());

describe('in a cluster under load, in which a worker dies and the store stands still', () => {
  it('every target is scraped, and the worker that died is none any more', async () => {
    // the list is asked for again now and then
    let broken: string[] = [];
    const isWhole = async () => (broken = await observed.prometheus.brokenTargets()).length === 0;
    await until(isWhole, 60_000).catch(() => undefined);
    expect(broken).toEqual([]);
  }, 90_000);

  it.each(panels)('$name has data, before the faults too unless it is about them', async ({ panel }) => {
    for (const query of queriesOf(panel)) {
      expect(await hasData(query, observed.range()), query.expr).toBe(true);
      if (mustHaveData(query)) expect(await hasData(query, well), query.expr).toBe(true);
    }
  });
});
