import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AdmissionQueue, type Ask, PLAIN_TERMS } from './index.js';

const WAIT_MS = 1_000;
const ODD = [NaN, Infinity, -Infinity, 0, -0, -1, 1e308, -1e308, Number.MIN_VALUE, Number.MAX_SAFE_INTEGER];
const plain: Ask = {
  ...{ modelId: 'm', tenant: 't', work: 1, isCharged: false, priority: 0, bytes: 0, pages: 0 },
  ...{ arrivedMs: 0, deadlineMs: Infinity },
};
const queueOf = (entriesPerModel = 256) =>
  new AdmissionQueue({ entriesPerModel, bytes: Infinity, waitMs: WAIT_MS }, new Map());

describe('what nobody should ask for', () => {
  it('has no time left where the deadline is past, or no number', () => {
    const queue = queueOf();
    for (const deadlineMs of [NaN, -Infinity, -1, 0])
      expect(queue.enter(0, { ...plain, deadlineMs }, 0).refusal?.cause).toBe('deadline');
    expect(queue.size).toBe(0);
  });

  it('goes before nobody of its own tenant by a priority that is no number', () => {
    const queue = queueOf();
    queue.enter(0, plain, 0);
    queue.enter(1, { ...plain, priority: NaN }, 0);
    expect([queue.next(0), queue.next(0)]).toEqual([0, 1]);
  });

  it('waits no longer than anybody, and all that enter leave, whatever deadlines, priorities and clocks are', () => {
    const odd = fc.oneof(fc.constantFrom(...ODD), fc.integer({ min: -2_000, max: 2_000 }));
    const step = fc.record({
      ...{ deadlineMs: odd, priority: odd, tenant: fc.constantFrom('a', 'b'), does: fc.nat(4) },
      ms: fc.oneof(fc.nat(300), fc.constant(3_600_000)),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const queue = queueOf(8);
        const enteredMs = new Map<number, number>();
        let nowMs = 0;
        const expire = () => {
          for (const { id } of queue.expire(nowMs)) enteredMs.delete(id);
          for (const at of enteredMs.values()) expect(nowMs - at).toBeLessThan(WAIT_MS);
        };
        for (const [id, { ms, does, ...asked }] of steps.entries()) {
          nowMs += ms;
          expire();
          const { refusal, shed } = queue.enter(id, { ...plain, ...asked, arrivedMs: nowMs }, nowMs);
          for (const each of shed) enteredMs.delete(each.id);
          if (!refusal) enteredMs.set(id, nowMs);
          const next = does < 3 ? queue.next(nowMs) : undefined;
          if (next === undefined) continue;
          if (does === 0) queue.blocked(next, nowMs);
          else if (does === 1) queue.admitted(next, 1, nowMs);
          else queue.leave(next, nowMs);
          if (does > 0) enteredMs.delete(next);
          expect(queue.size).toBe(enteredMs.size);
        }
        nowMs += WAIT_MS;
        expire();
        expect([queue.size, enteredMs.size, queue.nextExpiryMs]).toEqual([0, 0, undefined]);
      }),
      { numRuns: 300, seed: 9 },
    );
  });

  it('is refused by nobody for long after the process has stood still for an hour', () => {
    const queue = queueOf();
    let [nowMs, id] = [0, 0];
    // twenty wait, and one gets in each 10 ms
    const fill = () => {
      for (; queue.size < 20; id += 1) queue.enter(id, { ...plain, arrivedMs: nowMs }, nowMs);
      queue.wake();
    };
    const run = (times: number) => {
      for (let turn = 0; turn < times; turn += 1) {
        fill();
        queue.admitted(queue.next(nowMs) ?? -1, 1, nowMs);
        queue.blocked(queue.next(nowMs) ?? -1, nowMs);
        nowMs += 10;
      }
    };
    run(100);
    nowMs += 3_600_000;
    queue.expire(nowMs);
    for (let at = 0; at < 10; at += 1) {
      const { refusal } = queue.enter((id += 1), { ...plain, arrivedMs: nowMs }, nowMs);
      expect(refusal).toBeUndefined();
      queue.blocked(queue.next(nowMs) ?? -1, nowMs);
    }
  });

  it('keeps what it knows of thousands of tenants small, and forgets none of their requests', () => {
    const tenants = Array.from({ length: 5_000 }, (_, index) => `tenant-${index}`);
    const queue = new AdmissionQueue(
      { entriesPerModel: 256, bytes: Infinity, waitMs: WAIT_MS },
      new Map(tenants.map((tenant) => [tenant, PLAIN_TERMS])),
    );
    let gone = 0;
    for (const [id, tenant] of tenants.entries()) {
      const { refusal, shed } = queue.enter(id, { ...plain, tenant }, 0);
      gone += shed.length + (refusal ? 1 : 0);
      expect(queue.size).toBeLessThanOrEqual(256);
    }
    expect(gone + queue.size).toBe(tenants.length);
    expect(queue.expire(WAIT_MS)).toHaveLength(256);
  });
});
