import type { Span, Tracing } from '@kvcapsule/platform/tracing';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { type Asking, generateOf, type Rig, RouterSide, startRig } from '../testing/harness.js';

const lines: Record<string, unknown>[] = [];
let rig: Rig;

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const nothing = () => undefined;
const span: Span = {
  ...{ traceId: TRACE_ID, traceparent: '', child: () => span },
  ...{ note: nothing, event: nothing, set: nothing, end: nothing },
};
/** Records what its sender records. */
const tracing: Tracing = {
  ...{ begin: nothing, close: () => Promise.resolve() },
  join: (_name, traceparent) => (traceparent === undefined ? undefined : span),
};

beforeEach(async () => {
  lines.length = 0;
  const write = (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>);
  rig = await startRig({ logger: pino({}, { write }), tracing });
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

  it('names the trace of a request that is recorded, however it ends, and no other', async () => {
    const traceparent = `00-${TRACE_ID}-b7ad6b7169203331-01`;
    await ask({ traceparent });
    rig.engine.failNext = 1;
    await ask({ requestId: 'r2', traceparent });
    await ask({ requestId: 'r3' });
    expect(ofRequests().map(({ msg, requestId, traceId }) => [msg, requestId, traceId])).toEqual([
      ['a request ended', 'r1', TRACE_ID],
      ['a request failed', 'r2', TRACE_ID],
      ['a request ended', 'r3', undefined],
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
