import { setTimeout as sleep } from 'node:timers/promises';
import { SeededRandom } from '@kvcapsule/testing/scenes';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../harness.js';
import { answersOf, askUntilTaken, SCRIPTS } from './clients.js';
import { bounce, Ground, restart } from './ground.js';
import type { End, Expected } from './history.js';

const isFull = process.env['KVCAPSULE_TEST_FULL'] === '1';
const SEED = Number(process.env['KVCAPSULE_TEST_CHAOS_SEED'] ?? 1);

let ground: Ground;
let expected: ReadonlyMap<string, Expected>;
beforeAll(async () => {
  // a second is less than a stream takes: the others move when their worker leaves
  ground = await Ground.start({ poolMib: 64, workerDrainMs: 1_000 });
  expected = await answersOf(ground);
}, 300_000);
afterAll(() => ground.stop());

interface Outcome {
  readonly script: string;
  readonly text: string;
  readonly end: End;
}

/** Keeps so many streams open until so many have ended and `isOver`. */
async function streams(atOnce: number, least: number, isOver: () => boolean): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const scripts = Object.keys(SCRIPTS);
  const client = async (random: SeededRandom): Promise<void> => {
    while (outcomes.length < least || !isOver()) {
      const script = random.pick(scripts);
      outcomes.push({ script, ...(await askUntilTaken(ground, script, random)) });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, (_, i) => client(new SeededRandom(SEED * 1_000 + i))));
  return outcomes;
}

/** Those that are not, byte for byte, what they are where nothing happens. */
function spoilt(outcomes: readonly Outcome[]): unknown[] {
  return outcomes.filter(({ script, text, end }) => {
    const { reason, completionTokens, text: whole } = expected.get(script) ?? {};
    return (
      text !== whole ||
      end.how !== 'finished' ||
      end.reason !== reason ||
      end.completionTokens !== completionTokens
    );
  });
}

/** One every five seconds. */
const KILLS = isFull ? 50 : 7;

describe('streams', () => {
  it('go on, byte for byte, while a worker is killed every five seconds', async () => {
    let kills = 0;
    const killing = (async () => {
      const random = new SeededRandom(SEED);
      for (; kills < KILLS; kills += 1) {
        await sleep(5_000);
        await bounce(random.pick(ground.workers), 0);
      }
    })();
    const outcomes = await streams(64, 64, () => kills === KILLS);
    await killing;
    process.stdout.write(`${outcomes.length} streams, ${kills} kills\n`);
    expect(spoilt(outcomes)).toEqual([]);
    await ground.untilQuiet();
  }, 600_000);

  it('are not lost when every process is restarted in turn', async () => {
    let isOver = false;
    const rolling = (async () => {
      for (const node of [...ground.workers, ...ground.routers]) {
        await restart(node);
        await until(() => ground.isReady(), 60_000);
      }
      isOver = true;
    })();
    const outcomes = await streams(16, isFull ? 2_000 : 200, () => isOver);
    await rolling;
    process.stdout.write(`${outcomes.length} streams\n`);
    expect(spoilt(outcomes)).toEqual([]);
    await ground.untilQuiet();
  }, 1_800_000);

  it('go on when every connection to a worker breaks, while all processes live', async () => {
    let isOver = false;
    const breaking = (async () => {
      const random = new SeededRandom(SEED);
      for (let time = 0; time < 4; time += 1) {
        // on a busy machine, too, streams get on in between: a few losses in a row without a token end one
        await sleep(8_000);
        for (const { inbound } of ground.workers) inbound?.set('refusing');
        await sleep(random.integer(100, 400));
        for (const { inbound } of ground.workers) inbound?.set('passing');
      }
      isOver = true;
    })();
    const outcomes = await streams(16, 16, () => isOver);
    await breaking;
    expect(spoilt(outcomes)).toEqual([]);
    await ground.untilQuiet();
  }, 300_000);

  it('go on after routers have stood still for longer than workers may be silent', async () => {
    let isOver = false;
    const stopping = (async () => {
      for (let time = 0; time < 2; time += 1) {
        await sleep(1_000);
        for (const { part } of ground.routers) part.process.kill('SIGSTOP');
        await sleep(8_000);
        for (const { part } of ground.routers) part.process.kill('SIGCONT');
      }
      isOver = true;
    })();
    const outcomes = await streams(16, 16, () => isOver);
    await stopping;
    expect(spoilt(outcomes)).toEqual([]);
    await ground.untilQuiet();
  }, 300_000);
});
