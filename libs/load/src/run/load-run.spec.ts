import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AnswerListener, ChatTransport } from '../client/index.js';
import {
  countsOf,
  distributionOf,
  e2eFromSendMs,
  e2eMs,
  isOk,
  lagMs,
  mergeMeasured,
  ttftMs,
} from '../measurement/index.js';
import { GeneratedWorkload, ONE_EACH, Pictures, type Workload } from '../workload/index.js';
import { LoadRun, type RunClock } from './load-run.js';
import type { RunPlan } from './plan.js';

/** Time that stands still until it is told to go on. */
class FakeClock implements RunClock {
  #nowMs = 0;
  #timers: { readonly atMs: number; readonly act: () => void }[] = [];

  now(): number {
    return this.#nowMs;
  }

  after(ms: number, act: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, ms), act };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer);
    };
  }

  holdUp(ms: number): void {
    this.#nowMs += ms;
  }

  /** Lets whatever is due happen, one after another. */
  async run(): Promise<void> {
    for (;;) {
      await Promise.resolve();
      const [next] = this.#timers.toSorted((a, b) => a.atMs - b.atMs);
      if (next === undefined) return;
      this.#timers = this.#timers.filter((one) => one !== next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.act();
    }
  }
}

interface Behaviour {
  /** Ms to the first piece, and between pieces. */
  readonly stepMs: number;
  readonly parts: number;
  readonly outcome: string;
  /** Gives the request its answer not before then. */
  readonly notBeforeMs?: number;
}

/** A server that answers as it is told to. */
class FakeServer implements ChatTransport {
  readonly bodies: string[] = [];
  constructor(
    readonly clock: FakeClock,
    readonly behave: (request: number, nowMs: number) => Behaviour,
  ) {}

  send(body: string, listener: AnswerListener, keepText: boolean): () => void {
    const { stepMs, parts, outcome, notBeforeMs = 0 } = this.behave(this.bodies.length, this.clock.now());
    this.bodies.push(body);
    let left = parts;
    const step = (): void => {
      if (left === 0) {
        if (outcome === 'ok') listener.usage({ promptTokens: 10, completionTokens: parts, cachedTokens: 0 });
        listener.end(outcome);
        return;
      }
      left -= 1;
      listener.part(keepText ? 'x' : undefined);
      takeBack = this.clock.after(left === 0 ? 0 : stepMs, step);
    };
    const waitMs = Math.max(stepMs, notBeforeMs - this.clock.now());
    let takeBack = this.clock.after(waitMs, step);
    return () => {
      takeBack();
      listener.end('cancelled');
    };
  }
}

const PLAN: RunPlan = {
  shape: { kind: 'open', profile: { kind: 'constant', perSecond: 10 }, spacing: 'even' },
  ...{ seed: 1, shard: { index: 0, of: 1 }, warmUpMs: 0, drainMs: 10_000, thinkMs: 0, mostOpen: 1_000 },
};
const MIX = {
  promptTokens: { kind: 'fixed', tokens: 4 },
  outputTokens: { kind: 'fixed', tokens: 3 },
} as const;
const workloadOf = (turns = 1): Workload =>
  new GeneratedWorkload(1, { ...MIX, sharedPrefixTokens: 0, turns }, ONE_EACH);

function runOf(
  plan: Partial<RunPlan>,
  behave: FakeServer['behave'],
  workload = workloadOf(),
  clock = new FakeClock(),
  mostKept?: number,
) {
  const server = new FakeServer(clock, behave);
  const run = new LoadRun({
    ...{ plan: { ...PLAN, ...plan }, workload, clock, transport: server },
    pictures: new Pictures(1, { width: 8, height: 8 }),
    body: { model: 'm', extra: {} },
    ...(mostKept !== undefined && { mostKept }),
  });
  return { clock, server, run, ended: run.start() };
}

const quick = (): Behaviour => ({ stepMs: 5, parts: 3, outcome: 'ok' });

describe('an open loop', () => {
  it('sends at the times of its clock, whatever has become of those before', async () => {
    const { clock, ended } = runOf({ requests: 20 }, () => ({ stepMs: 700, parts: 2, outcome: 'ok' }));
    await clock.run();
    const { records, counts } = await ended;
    expect(records.map(({ intendedMs }) => intendedMs).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 20 }, (_, at) => 100 * at),
    );
    expect(records.every(({ intendedMs, sentMs }) => intendedMs === sentMs)).toBe(true);
    expect(counts).toMatchObject({ started: 20, ok: 20 });
  });

  it('sees to answers while it is behind by far', async () => {
    const clock = new FakeClock();
    clock.holdUp(60_000);
    const plan = {
      ...{ requests: 5_000, mostOpen: 500 },
      shape: { kind: 'open', profile: { kind: 'constant', perSecond: 1e6 }, spacing: 'even' },
    } as const;
    const { ended } = runOf(plan, () => ({ stepMs: 0, parts: 1, outcome: 'ok' }), workloadOf(), clock);
    await clock.run();
    const { counts } = await ended;
    expect(counts).toMatchObject({ started: 5_000, ok: 5_000 });
  });

  it('ends when it keeps no more requests', async () => {
    const plan = { requests: 100, drainMs: 50 };
    const { clock, run, ended } = runOf(plan, quick, workloadOf(), new FakeClock(), 10);
    await clock.run();
    const { counts } = await ended;
    expect(run.isFull).toBe(true);
    expect(counts).toMatchObject({ started: 10, ok: 10 });
  });

  it('shows a second’s stall in the percentiles of all who were to ask in it', async () => {
    const stallEndMs = 2_000;
    const { clock, ended } = runOf({ requests: 40 }, (_, nowMs) => ({
      ...quick(),
      ...(nowMs >= 1_000 && nowMs < stallEndMs && { notBeforeMs: stallEndMs }),
    }));
    await clock.run();
    const { records } = await ended;
    const ttft = distributionOf(records.map(ttftMs));
    expect(ttft.p50).toBe(5);
    // a quarter of the requests fell into the stall, and waited 1000, 900, … 100 ms
    expect(ttft.p90).toBe(600);
    expect(ttft.p99).toBe(1_000);
  });

  it('counts latency from when a request was to be sent, though it left late', async () => {
    const clock = new FakeClock();
    const workload = workloadOf();
    const slow: Workload = {
      conversation: (number) => {
        // making the first request holds the generator up
        if (number === 0) clock.holdUp(250);
        return workload.conversation(number);
      },
    };
    const { ended } = runOf({ requests: 5 }, quick, slow, clock);
    await clock.run();
    const { records } = await ended;
    expect(records.map(lagMs)).toEqual([250, 150, 50, 0, 0]);
    expect(records.map(ttftMs)).toEqual([255, 155, 55, 5, 5]);
    expect(records.map((record) => e2eMs(record) - e2eFromSendMs(record))).toEqual([250, 150, 50, 0, 0]);
  });

  it('does not send more than may be open, and counts what it did not send', async () => {
    const { clock, ended } = runOf({ requests: 10, mostOpen: 4 }, () => ({
      stepMs: 5_000,
      parts: 1,
      outcome: 'ok',
    }));
    await clock.run();
    expect((await ended).counts).toEqual({ started: 10, ok: 4, cancelled: 0, errors: { too_many_open: 6 } });
  });

  it('leaves the warm-up out', async () => {
    const { clock, ended } = runOf({ requests: 5, warmUpMs: 1_000 }, quick);
    await clock.run();
    const { counts, warmUp, records } = await ended;
    expect({ ok: counts.ok, warmUp }).toEqual({ ok: 5, warmUp: 10 });
    expect(Math.min(...records.map(({ intendedMs }) => intendedMs))).toBe(1_000);
  });

  it('gives up what is open when the drain is over', async () => {
    const { clock, ended } = runOf({ durationMs: 1_000, drainMs: 500 }, (at) => ({
      ...{ stepMs: at < 5 ? 10 : 60_000, parts: 1, outcome: 'ok' },
    }));
    await clock.run();
    expect((await ended).counts).toEqual({ started: 10, ok: 5, cancelled: 5, errors: {} });
    // from the last request on, at 900 ms
    expect(clock.now()).toBe(1_400);
  });

  it('is the same load in any number of processes, and merges to it', async () => {
    const shards = async (of: number) => {
      const parts = await Promise.all(
        Array.from({ length: of }, async (_, index) => {
          const { clock, ended } = runOf({ requests: 50, shard: { index, of } }, quick);
          await clock.run();
          return ended;
        }),
      );
      return mergeMeasured(parts);
    };
    const [one, three] = [await shards(1), await shards(3)];
    expect(three.records).toEqual(one.records);
    expect(three.counts).toEqual(one.counts);
    expect(three.gaps.encode()).toEqual(one.gaps.encode());
  });
});

describe('a closed loop', () => {
  const CLOSED = { shape: { kind: 'closed', concurrency: 3 } } as const;

  it('asks again as soon as it is answered, with no more callers than it has', async () => {
    const { clock, ended } = runOf({ ...CLOSED, requests: 9 }, () => ({
      stepMs: 100,
      parts: 1,
      outcome: 'ok',
    }));
    await clock.run();
    const { records } = await ended;
    expect(records.map(({ sentMs }) => sentMs)).toEqual([0, 0, 0, 100, 100, 100, 200, 200, 200]);
  });

  it('does not storm a server that refuses', async () => {
    const { clock, ended } = runOf({ ...CLOSED, durationMs: 1_000 }, () => ({
      ...{ stepMs: 0, parts: 0, outcome: 'http_503' },
    }));
    await clock.run();
    expect((await ended).counts.started).toBe(30);
  });
});

describe('a conversation', () => {
  it('repeats what was said, and thinks before each turn', async () => {
    const { clock, server, ended } = runOf({ requests: 1, thinkMs: 300 }, quick, workloadOf(3));
    await clock.run();
    const { records, counts } = await ended;
    expect(counts.ok).toBe(3);
    expect(records.map(({ turn }) => turn)).toEqual([0, 1, 2]);
    expect(records[1]?.intendedMs).toBe((records[0]?.endMs ?? 0) + 300);
    const last = JSON.parse(server.bodies[2] ?? '') as { messages: { role: string; content: string }[] };
    expect(last.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant', 'user']);
    expect(last.messages[1]?.content).toBe('xxx');
  });

  it('ends with the request that fails', async () => {
    const { clock, ended } = runOf(
      { requests: 2 },
      () => ({ ...quick(), outcome: 'broken_off' }),
      workloadOf(3),
    );
    await clock.run();
    expect((await ended).counts).toEqual({ started: 2, ok: 0, cancelled: 0, errors: { broken_off: 2 } });
  });
});

describe('whatever a server does', () => {
  const outcome = fc.constantFrom('ok', 'http_503', 'broken_off', 'garbage');
  const behaviour = fc.record({ stepMs: fc.nat(3_000), parts: fc.nat(4), outcome });
  const shape = fc.oneof(
    fc.record({ kind: fc.constant('closed' as const), concurrency: fc.integer({ min: 1, max: 7 }) }),
    fc.record({
      ...{
        kind: fc.constant('open' as const),
        spacing: fc.constantFrom('even' as const, 'poisson' as const),
      },
      profile: fc.record({
        kind: fc.constant('constant' as const),
        perSecond: fc.integer({ min: 1, max: 50 }),
      }),
    }),
  );

  it('loses no request: started are ok, failed or cancelled, and the run ends', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          shape,
          durationMs: fc.integer({ min: 1, max: 3_000 }),
          drainMs: fc.nat(2_000),
          warmUpMs: fc.nat(1_000),
        }),
        fc.array(behaviour, { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 1, max: 3 }),
        fc.option(fc.nat(4_000)),
        async (plan, behaviours, turns, stopAtMs) => {
          const { clock, server, run, ended } = runOf(
            { ...plan, mostOpen: 20 },
            (at) => behaviours[at % behaviours.length] ?? quick(),
            workloadOf(turns),
          );
          if (stopAtMs !== null)
            clock.after(stopAtMs, () => {
              run.stop();
            });
          await clock.run();
          const { records, counts, warmUp, gaps } = await ended;
          const failed = Object.values(counts.errors).reduce((sum, count) => sum + count, 0);
          expect(counts.ok + counts.cancelled + failed).toBe(counts.started);
          expect(counts.started + warmUp).toBe(run.state.sent);
          expect(records.length - (counts.errors['too_many_open'] ?? 0)).toBeLessThanOrEqual(
            server.bodies.length,
          );
          expect(counts).toEqual(countsOf(records));
          const pieces = records.filter(isOk).reduce((sum, { parts }) => sum + Math.max(0, parts - 1), 0);
          expect(gaps.count).toBe(pieces);
        },
      ),
      { seed: 15, numRuns: 200 },
    );
  });
});
