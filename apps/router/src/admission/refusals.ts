import { KvcError } from '@kvcapsule/contracts/errors';
import type { Evicted, OverCap, Refusal } from '@kvcapsule/domain/admission';

/** Why a request was not let in, as its client is told. */
export function refused({ cause, retryAfterMs }: Refusal | Evicted, waitMs: number): KvcError {
  const [code, message] = WORDS[cause](waitMs);
  return new KvcError(code, message, { retryAfterMs });
}

type Words = (waitMs: number) => [code: 'QUEUE_FULL' | 'NO_CAPACITY' | 'DEADLINE_EXCEEDED', message: string];

const WORDS: Record<Refusal['cause'] | Evicted['cause'], Words> = {
  full: () => ['QUEUE_FULL', 'All workers are full, and too many requests wait for them already.'],
  shed: () => ['QUEUE_FULL', 'The queue is full, and this request gave way to others in it.'],
  'wait-too-long': (waitMs) => [
    'NO_CAPACITY',
    `The requests that go before this one will take longer than the ${waitMs / 1_000} s that it may wait.`,
  ],
  waited: (waitMs) => ['NO_CAPACITY', `No worker had room for this request within ${waitMs / 1_000} s.`],
  'deadline-too-near': () => [
    'DEADLINE_EXCEEDED',
    'The requests that go before this one will take longer than is left of its time.',
  ],
  deadline: () => ['DEADLINE_EXCEEDED', 'The time for this answer was up before a worker had room.'],
};

/** A request of more pages than its tenant may hold at all. */
export interface OverPages {
  readonly cap: 'pages';
  readonly pages: number;
  readonly most: number;
}

/** A tenant asks for more than it was granted. */
export function overCap(over: OverCap | OverPages): KvcError {
  if (over.cap === 'pages') {
    const message = `This request needs ${over.pages} KV pages, and its tenant may hold ${over.most}.`;
    return new KvcError('KV_CAPACITY_EXCEEDED', message);
  }
  const { cap, retryAfterMs } = over;
  const message =
    cap === 'tokens'
      ? 'Rate limit reached for tokens per minute.'
      : 'Rate limit reached for requests at one time.';
  return new KvcError('RATE_LIMIT_EXCEEDED', message, { retryAfterMs: Math.ceil(retryAfterMs) });
}
