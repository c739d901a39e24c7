import { type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import { type Finished, FinishReason, Prefill } from '@kvcapsule/contracts/worker';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Trial } from '@kvcapsule/domain/retries';
import type { LinkListener, OutgoingRequest, WorkerLink } from '../fleet/worker-link.js';
import { attempt } from './attempt.js';
import { Transcript } from './transcript.js';

const REQUEST = { message: { requestId: 'r' }, files: [] } as unknown as OutgoingRequest;
const finishedBy = (reason: FinishReason): Finished => ({ reason, text: '', usage: undefined });
const delta = (text: string) => ({ text, tokenIds: [text.length], logprobs: [] });

/** An attempt at a worker that says what a test lets it say. */
function scene(controller = new AbortController()) {
  const log: string[] = [];
  let worker: LinkListener | undefined;
  const link = {
    generate: ({ message }: OutgoingRequest, listener: LinkListener) => {
      log.push(`generate ${message.requestId}`);
      worker = listener;
    },
    abort: (requestId: string) => log.push(`abort ${requestId}`),
    forget: (requestId: string) => log.push(`forget ${requestId}`),
  } as unknown as WorkerLink;
  const transcript = new Transcript({
    ...{ windowBytes: 1_000, scored: false },
    owner: { abandoned: () => undefined, closed: () => undefined },
    observer: { started: () => undefined, appended: () => log.push('appended'), ended: () => undefined },
  });
  const told: string[] = [];
  const trial: Trial = {
    state: 'closed',
    succeeded: () => void told.push('succeeded'),
    failed: (atMs) => void told.push(`failed at ${atMs}`),
    left: () => void told.push('left'),
  };
  const outcome: { value?: unknown } = {};
  attempt(link, REQUEST, transcript, {
    ...{ signal: controller.signal, trial },
    unconfirmed: () => void log.push('unconfirmed'),
  }).then(
    () => (outcome.value = 'resolved'),
    (error: unknown) => (outcome.value = error),
  );
  return { log, told, transcript, outcome, controller, worker: () => worker! };
}

const prefill = (computedTokens: number) => Prefill.create({ computedTokens, promptTokens: 3 });
const gone = new KvcError('ABORTED', 'gone');
const settled = () => vi.advanceTimersByTimeAsync(0);

describe('an attempt', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('writes what the worker says into the transcript, and resolves when that is complete', async () => {
    const { log, transcript, outcome, worker } = scene();
    worker().started({ promptTokens: 3, cachedTokens: 1 });
    worker().delta(0, delta('ab'));
    worker().flush(0);
    await settled();
    expect(transcript.started).toEqual({ promptTokens: 3, cachedTokens: 1 });
    expect([log, transcript.tokenIds, outcome]).toEqual([['generate r', 'appended'], [2], {}]);
    const end = finishedBy(FinishReason.FINISH_REASON_STOP);
    worker().finished(end);
    await settled();
    expect([transcript.end, outcome.value]).toEqual([{ finished: end }, 'resolved']);
  });

  it('rejects with the worker’s error, and leaves the transcript open for another worker', async () => {
    const { transcript, outcome, worker } = scene();
    const full = new KvcError('NO_CAPACITY', 'full');
    worker().failed(full, 0);
    await settled();
    expect([outcome.value, transcript.end]).toEqual([full, undefined]);
  });

  it('takes an answer that the worker cut off by itself for none', async () => {
    const { transcript, outcome, worker } = scene();
    worker().finished(finishedBy(FinishReason.FINISH_REASON_ABORT));
    await settled();
    expect(outcome.value).toMatchObject({ code: 'WORKER_LOST' });
    expect(transcript.end).toBeUndefined();
  });

  it('asks nobody for a client that has left', async () => {
    const controller = new AbortController();
    controller.abort(gone);
    const { log, outcome } = scene(controller);
    await settled();
    expect([log, outcome.value]).toEqual([[], gone]);
  });

  it.each([FinishReason.FINISH_REASON_ABORT, FinishReason.FINISH_REASON_STOP])(
    'tells the worker to stop, and rejects with the reason of that when it has, by whatever end (%i)',
    async (reason) => {
      const { log, transcript, outcome, controller, worker } = scene();
      controller.abort(gone);
      worker().delta(0, delta('late'));
      await vi.advanceTimersByTimeAsync(4_900);
      expect([log, outcome, transcript.tokenIds]).toEqual([['generate r', 'abort r'], {}, []]);
      worker().finished(finishedBy(reason));
      await vi.advanceTimersByTimeAsync(60_000);
      expect([log, outcome.value, transcript.end]).toEqual([['generate r', 'abort r'], gone, undefined]);
    },
  );

  it('rejects with the reason of the abort also where the worker fails then', async () => {
    const { outcome, controller, worker } = scene();
    controller.abort(gone);
    worker().failed(new KvcError('ENGINE_FAILED', 'failed'), 0);
    await settled();
    expect(outcome.value).toBe(gone);
  });

  it.each([false, true])(
    'leaves what it holds to a worker that is not heard any more (aborted: %s)',
    async (isAborted) => {
      const lost = new KvcError('WORKER_LOST', 'lost');
      const { log, told, outcome, controller, worker } = scene();
      if (isAborted) controller.abort(gone);
      worker().lost(lost, 7);
      await vi.advanceTimersByTimeAsync(60_000);
      expect(log.at(-1)).toBe('unconfirmed');
      expect(log.filter((line) => line === 'unconfirmed')).toHaveLength(1);
      expect([outcome.value, told]).toEqual(isAborted ? [gone, []] : [lost, ['failed at 7']]);
    },
  );

  it('waits no longer than five seconds for a worker that does not stop', async () => {
    const { log, outcome, controller } = scene();
    controller.abort(gone);
    await vi.advanceTimersByTimeAsync(5_000);
    expect([log, outcome.value]).toEqual([['generate r', 'abort r', 'forget r', 'unconfirmed'], gone]);
  });

  it('aborts nothing that has ended', async () => {
    const { log, controller, worker } = scene();
    worker().finished(finishedBy(FinishReason.FINISH_REASON_LENGTH));
    controller.abort(gone);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(log).toEqual(['generate r']);
  });
});

describe('the breaker of a worker', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it.each<[ErrorCode, boolean]>([
    ['WORKER_LOST', true],
    ['ENGINE_FAILED', true],
    ['INTERNAL', true],
    ['DEADLINE_EXCEEDED', true],
    ['NO_CAPACITY', false],
    ['DRAINING', false],
    ['STALE_EPOCH', false],
    ['INVALID_REQUEST', false],
    ['IMAGE_INVALID', false],
    ['CONTEXT_LENGTH_EXCEEDED', false],
  ])('is told of a %s before the first progress: %s', (code, counts) => {
    const { told, worker } = scene();
    worker().started({ promptTokens: 3, cachedTokens: 1 });
    worker().failed(new KvcError(code, 'failed'), 7);
    expect(told).toEqual(counts ? ['failed at 7'] : []);
  });

  it.each<[string, (worker: LinkListener) => void, string[]]>([
    ['the first token', (worker) => worker.delta(0, delta('a')), ['succeeded']],
    [
      'a whole answer without one',
      (worker) => worker.finished(finishedBy(FinishReason.FINISH_REASON_STOP)),
      ['succeeded'],
    ],
    ['a part of the prompt', (worker) => worker.prefilled(prefill(2)), ['succeeded']],
    ['no more of the prompt than was cached', (worker) => worker.prefilled(prefill(1)), []],
  ])('is told that it does well by %s', (_name, say, expected) => {
    const { told, worker } = scene();
    worker().started({ promptTokens: 3, cachedTokens: 1 });
    say(worker());
    say(worker());
    expect(told).toEqual(expected);
  });

  it('is told of a worker that breaks after it has come forward, but not that the time is up then', () => {
    const broken = scene();
    broken.worker().delta(0, delta('a'));
    broken.worker().failed(new KvcError('ENGINE_FAILED', 'broken'), 7);
    expect(broken.told).toEqual(['succeeded', 'failed at 7']);
    const late = scene();
    late.worker().delta(0, delta('a'));
    late.controller.abort(new KvcError('DEADLINE_EXCEEDED', 'late'));
    expect(late.told).toEqual(['succeeded']);
  });

  it('is told of an answer whose whole time has passed without progress, and never of a client that leaves', async () => {
    const late = scene();
    late.controller.abort(new KvcError('DEADLINE_EXCEEDED', 'late'));
    expect(late.told).toEqual([expect.stringMatching('failed at')]);
    const left = scene();
    left.controller.abort(gone);
    await vi.advanceTimersByTimeAsync(5_000);
    left.worker().failed(new KvcError('WORKER_LOST', 'lost'), 0);
    expect(left.told).toEqual([]);
  });
});
