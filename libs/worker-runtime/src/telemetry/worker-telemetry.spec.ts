import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { type Asking, generateOf, type Rig, RouterSide, startRig } from '../testing/harness.js';

const lines: Record<string, unknown>[] = [];
let rig: Rig;

beforeEach(async () => {
  lines.length = 0;
  const write = (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>);
  rig = await startRig({ logger: pino({}, { write }) });
});
afterEach(() => rig.close());

const ask = (more: Partial<Asking> = {}) =>
  new RouterSide(rig.client).ask({
    ...generateOf({ id: 'r1', parts: [[10, 11, 12]], maxTokens: 3, sampling: { ignoreEos: true } }),
    clientRequestId: 'mine-1',
    ...more,
  });
const ofRequests = () => lines.filter(({ requestId }) => requestId !== undefined);
const IDS = { requestId: 'r1', clientRequestId: 'mine-1' };

describe('the log', () => {
  it('says of an answer what its client calls it', async () => {
    await ask();
    expect(ofRequests()).toEqual([
      expect.objectContaining({
        ...IDS,
        msg: 'a request ended',
        reason: 'length',
        ...{ promptTokens: 3, cachedTokens: 0, completionTokens: 3 },
      }),
    ]);
  });

  it('says so of a failure', async () => {
    rig.engine.failNext = 1;
    await ask();
    expect(ofRequests()).toEqual([expect.objectContaining({ ...IDS, msg: 'a request failed' })]);
  });

  it('says so of a request that the pool has no room for', async () => {
    const { scheduler } = rig.worker.serving;
    const plan = scheduler.plan.bind(scheduler);
    scheduler.plan = (ahead) => {
      const [id] = scheduler.waiting;
      const step = plan(ahead);
      return id && step && scheduler.finish(id)
        ? { ...step, chunks: [], samples: [], rows: 0, exhausted: [id] }
        : step;
    };
    await ask();
    expect(ofRequests().map(({ msg, clientRequestId }) => [msg, clientRequestId])).toEqual([
      ['a request ended because the pool is full', 'mine-1'],
      ['a request failed', 'mine-1'],
    ]);
  });

  it.each(['', 'two words', 'x'.repeat(129), 'line\nbreak'])(
    'never has the id %j, which no router sends',
    async (clientRequestId) => {
      const { error } = await ask({ clientRequestId });
      expect(error?.code).toBe('INVALID_REQUEST');
      expect(ofRequests()).toEqual([]);
    },
  );
});
