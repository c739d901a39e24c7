import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DisposeGuard } from './dispose-guard.js';

describe('DisposeGuard', () => {
  it('frees only after work in flight has ended, once', async () => {
    const guard = new DisposeGuard();
    const events: string[] = [];
    let finish: () => void = () => undefined;
    const promise = new Promise<void>((resolve) => (finish = resolve));
    const call = guard.run(async () => {
      await promise;
      events.push('call');
    });
    const free = () => Promise.resolve(void events.push('free'));
    const disposals = [guard.dispose(free), guard.dispose(free)];
    await expect(guard.run(() => Promise.resolve(1))).rejects.toMatchObject({ code: 'DRAINING' });
    expect(events).toEqual([]);
    finish();
    await Promise.all([call, ...disposals]);
    expect(events).toEqual(['call', 'free']);
  });

  it('never frees under a running call, however calls and disposal interleave', async () => {
    const turns = fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(turns, fc.nat(6), fc.boolean(), async (callTurns, disposeTurn, fail) => {
        const guard = new DisposeGuard();
        let running = 0;
        let freed = false;
        const work = async (count: number) => {
          running++;
          for (let turn = 0; turn < count; turn++) {
            await Promise.resolve();
            expect(freed).toBe(false);
          }
          running--;
          if (fail) throw new Error('failed call');
        };
        const calls = callTurns.map((count) => guard.run(() => work(count)));
        for (let turn = 0; turn < disposeTurn; turn++) await Promise.resolve();
        const disposal = guard.dispose(() => {
          freed = true;
          expect(running).toBe(0);
          return Promise.resolve();
        });
        await Promise.allSettled(calls);
        await disposal;
        expect(freed).toBe(true);
      }),
      { numRuns: 60, seed: 4 },
    );
  });
});
