import { describe, expect, it, vi } from 'vitest';

import { generateOf, RouterSide, startRig } from '../testing/harness.js';
import { FreedAnnouncer } from './freed-announcer.js';

describe('pages that are given back', () => {
  it('are announced at once, and those that follow together', async () => {
    const announced = vi.fn(() => Promise.resolve());
    const announcer = new FreedAnnouncer(announced);
    announcer.freed();
    expect(announced).toHaveBeenCalledTimes(1);
    for (let i = 0; i < 100; i += 1) announcer.freed();
    expect(announced).toHaveBeenCalledTimes(1);
    await vi.waitFor(() => {
      expect(announced).toHaveBeenCalledTimes(2);
    });
    // the pause after the last one is over
    await announcer.stop();
    expect(announced).toHaveBeenCalledTimes(2);
  });

  it('are announced one after the other, and the last of them after what was under way', async () => {
    const answers: (() => void)[] = [];
    const announced = vi.fn(() => new Promise<void>((resolve) => answers.push(resolve)));
    const announcer = new FreedAnnouncer(announced);
    announcer.freed();
    announcer.freed();
    await Promise.resolve();
    expect(announced).toHaveBeenCalledTimes(1);
    answers[0]?.();
    await vi.waitFor(() => {
      expect(announced).toHaveBeenCalledTimes(2);
    });
    answers[1]?.();
    await announcer.stop();
    announcer.freed();
    expect(announced).toHaveBeenCalledTimes(2);
  });

  it('are announced again after an announcement that failed', async () => {
    const announced = vi.fn(() => Promise.reject(new Error('away')));
    const announcer = new FreedAnnouncer(announced);
    announcer.freed();
    await new Promise((resolve) => setTimeout(resolve, 20));
    announcer.freed();
    expect(announced).toHaveBeenCalledTimes(2);
    await announcer.stop();
  });
});

it('are announced by a worker when a request has ended, as many as a router can have', async () => {
  const rig = await startRig({ config: { heartbeatMs: 1e9 } });
  try {
    const freed = vi.spyOn(rig.registry, 'freed');
    const router = new RouterSide(rig.client);
    const lease = { leaseId: 'l', epoch: 1n, pages: 64, provisional: false };
    router.send(generateOf({ id: 'a', parts: [[10, 11]], maxTokens: 4, lease }));
    await router.answer('a');
    await expect.poll(() => freed.mock.lastCall?.[2].freePages).toBe(512);
    expect(rig.store.leases.size).toBe(0);
  } finally {
    await rig.close();
  }
});
