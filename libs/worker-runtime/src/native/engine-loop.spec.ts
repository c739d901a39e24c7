import { describe, expect, it } from 'vitest';

import { until } from '../testing/harness.js';
import { EngineLoop } from './engine-loop.js';

/** Launches steps 1 to `count`, two at one time at most; each waits for its turn to be ended by the test. */
function scripted(count: number) {
  const log: string[] = [];
  const ends = new Map<number, { resolve: (outcome: string) => void; reject: (error: Error) => void }>();
  let planned = 0;
  let under = 0;
  const loop = new EngineLoop<string>({
    plan: () => {
      if (planned === count || under === 2) return;
      planned += 1;
      under += 1;
      const number = planned;
      log.push(`launch ${number}`);
      loop.launch(number, new Promise((resolve, reject) => ends.set(number, { resolve, reject })));
    },
    landed: (number, outcome) => {
      under -= 1;
      log.push(`land ${number} ${outcome}`);
    },
    failed: (number, error) => {
      under -= 1;
      log.push(`fail ${number} ${(error as Error).message}`);
    },
  });
  return { loop, log, ends };
}

describe('EngineLoop', () => {
  it('plans before it waits, and takes steps in the order of their launch, whatever came of them', async () => {
    const { loop, log, ends } = scripted(3);
    const ended = loop.run();
    await until(() => ends.size === 2);
    ends.get(2)?.resolve('well');
    ends.get(1)?.reject(new Error('broken'));
    await until(() => ends.size === 3);
    ends.get(3)?.resolve('well');
    await until(() => log.length === 6);
    loop.stop();
    await ended;
    expect(log).toEqual(['launch 1', 'launch 2', 'fail 1 broken', 'launch 3', 'land 2 well', 'land 3 well']);
  });

  it('lets what is under way end when it is stopped, and launches nothing more', async () => {
    const { loop, log, ends } = scripted(9);
    const ended = loop.run();
    await until(() => ends.size === 2);
    loop.stop();
    ends.get(1)?.resolve('well');
    ends.get(2)?.resolve('well');
    await ended;
    expect(log).toEqual(['launch 1', 'launch 2', 'land 1 well', 'land 2 well']);
  });

  it('sleeps until it is woken, and forgets no wake', async () => {
    let plans = 0;
    const nothing = () => undefined;
    const loop = new EngineLoop<string>({ plan: () => void (plans += 1), landed: nothing, failed: nothing });
    loop.wake();
    const ended = loop.run();
    await until(() => plans === 2);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(plans).toBe(2);
    loop.wake();
    await until(() => plans === 3);
    loop.stop();
    await ended;
  });

  it('rejects with what its work throws', async () => {
    const nothing = () => undefined;
    const plan = () => {
      throw new Error('a fault');
    };
    await expect(new EngineLoop({ plan, landed: nothing, failed: nothing }).run()).rejects.toThrow('a fault');
  });
});
