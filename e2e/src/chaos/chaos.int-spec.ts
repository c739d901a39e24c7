import { setTimeout as sleep } from 'node:timers/promises';
import { SeededRandom } from '@kvcapsule/testing/scenes';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../harness.js';
import { summaryOf, violationsOf } from './checker.js';
import { answersOf, keepAsking } from './clients.js';
import { bounce, Ground } from './ground.js';
import type { Expected, Happening } from './history.js';
import { strikeUntil } from './nemesis.js';

const isFull = process.env['KVCAPSULE_TEST_FULL'] === '1';
/** Long enough for each kind of fault to strike, on a busy machine too. */
const SECONDS = Number(process.env['KVCAPSULE_TEST_CHAOS_SECONDS'] ?? (isFull ? 1_800 : 90));
const SEED = Number(process.env['KVCAPSULE_TEST_CHAOS_SEED'] ?? 1);
const CLIENTS = 8;
const SAMPLE_MS = 100;

/** Looks at every worker's keys again and again. */
async function watchLedger(
  ground: Ground,
  tell: (happening: Happening) => void,
  untilMs: number,
): Promise<void> {
  while (performance.now() < untilMs) {
    for (const { name: workerId } of ground.workers) {
      const atMs = performance.now();
      const [held = '', epoch = '', capacity = '', ...fields] = (await ground.read(workerId)) ?? [];
      if (epoch === '') continue;
      const leases = fields.flatMap((id, i) =>
        i % 2 === 0 ? [{ id, pages: Number(fields[i + 1]?.split(':')[1]) }] : [],
      );
      const [, holder = ''] = held.split(' ');
      const account = { epoch: Number(epoch), holder, capacityPages: Number(capacity), leases };
      tell({ kind: 'ledger', atMs, workerId, ...account });
    }
    await sleep(SAMPLE_MS);
  }
}

let ground: Ground;
let expected: ReadonlyMap<string, Expected>;
beforeAll(async () => {
  ground = await Ground.start();
  expected = await answersOf(ground);
}, 300_000);
afterAll(() => ground.stop());

it(
  `keeps every promise while processes, ways and the store fail (${SECONDS} s, seed ${SEED})`,
  async () => {
    const history: Happening[] = [];
    const tell = (happening: Happening) => void history.push(happening);
    const untilMs = performance.now() + SECONDS * 1_000;
    let ids = 0;
    const clients = Array.from({ length: CLIENTS }, (_, i) =>
      keepAsking(ground, new SeededRandom(SEED * 1_000 + i), tell, () => (ids += 1), untilMs),
    );
    const watching = watchLedger(ground, tell, untilMs + 10_000);
    const say = (what: string) => tell({ kind: 'fault', atMs: performance.now(), what });
    const empties = (kind: 'emptying' | 'emptied') => tell({ kind, atMs: performance.now() });
    const broken = await strikeUntil(ground, new SeededRandom(SEED), say, empties, untilMs);
    await Promise.all(clients);
    await until(() => ground.isReady(), 60_000);
    await ground.untilQuiet();
    await watching;
    const summary = summaryOf(history);
    process.stdout.write(`${JSON.stringify(summary)}\n`);
    expect([...broken, ...violationsOf(history, expected)]).toEqual([]);
    expect(summary['finished']).toBeGreaterThan(SECONDS / 10);
  },
  (SECONDS + 400) * 1_000,
);

it('would have seen pages that are promised twice, and a lease that outlives its process', async () => {
  const history: Happening[] = [];
  const look = () => watchLedger(ground, (happening) => void history.push(happening), performance.now() + 1);
  const [worker] = ground.workers;
  await ground.store.servers[0]?.say('HSET kvc:v1:{worker-0}:leases:worker-0 planted c:1000000');
  await look();
  const [, epoch] = (await ground.read('worker-0')) ?? [];
  await ground.store.servers[0]?.say(`SET kvc:v1:{worker-0}:epoch:worker-0 "${epoch} another"`);
  await look();
  expect(violationsOf(history, expected)).toEqual([
    expect.stringMatching(/^worker-0: 1000000 pages are promised of \d+ /),
    expect.stringMatching(/^worker-0: 1000000 pages are promised of \d+ /),
    expect.stringMatching(/^worker-0: lease planted has outlived its process /),
  ]);
  if (worker) await bounce(worker, 0);
}, 120_000);
