import type { KvcError } from '@kvcapsule/contracts/errors';
import { type Finished, FinishReason } from '@kvcapsule/contracts/worker';
import type { Trial } from '@kvcapsule/domain/retries';
import { lost, type OutgoingRequest, type WorkerLink } from '../fleet/worker-link.js';
import type { Transcript } from './transcript.js';
import { Verdict } from './verdict.js';

/** How long a worker may take to say that an aborted request has stopped. */
const ABORT_GRACE_MS = 5_000;

interface AttemptBounds {
  readonly signal: AbortSignal;
  /** Is told how the worker does. */
  readonly trial: Trial;
  /** The worker may still run it, as it has not said that it has stopped: what it holds is its own to give back. */
  readonly unconfirmed: () => void;
}

/**
 * One try at one worker: writes its answer into the transcript and resolves once that is complete, rejects with the
 * worker's error. When the signal fires the worker is told to stop, and it rejects with the signal's reason as soon
 * as the pages are free, or the worker has not said so for too long.
 */
export function attempt(
  link: WorkerLink,
  request: OutgoingRequest,
  transcript: Transcript,
  { signal, trial, unconfirmed }: AttemptBounds,
): Promise<void> {
  const { requestId } = request.message;
  const verdict = new Verdict(trial);
  return new Promise<void>((resolve, reject) => {
    let grace: NodeJS.Timeout | undefined;
    // Asked with every token, and the signal's own getter takes longer than all else that a token needs here.
    let isAborted = false;
    const onAbort = () => {
      isAborted = true;
      verdict.aborted(signal.reason);
      link.abort(requestId);
      grace = setTimeout(() => {
        link.forget(requestId);
        unconfirmed();
        leave(() => reject(signal.reason as Error));
      }, ABORT_GRACE_MS);
    };
    const leave = (settle: () => void) => {
      clearTimeout(grace);
      signal.removeEventListener('abort', onAbort);
      settle();
    };
    const finished = (end: Finished) => {
      const isCut = signal.aborted || end.reason === FinishReason.FINISH_REASON_ABORT;
      if (isCut) return failed(lost('The worker stopped.'), performance.now());
      verdict.progressed();
      leave(resolve);
      transcript.finish(end);
    };
    const failed = (error: KvcError, atMs: number) => {
      if (!isAborted) verdict.failed(error, atMs);
      leave(() => reject(signal.aborted ? (signal.reason as Error) : error));
    };
    signal.throwIfAborted();
    signal.addEventListener('abort', onAbort);
    link.generate(request, {
      started: (started) => {
        verdict.started(started);
        transcript.start(started);
      },
      prefilled: (prefill) => {
        verdict.prefilled(prefill);
        transcript.prefilled(prefill);
      },
      delta: (choice, delta) => {
        verdict.progressed();
        if (!isAborted) transcript.append(choice, delta);
      },
      recompressed: (forms) => {
        transcript.recompressed(forms);
      },
      flush: (nowMs) => {
        transcript.flush(nowMs);
      },
      finished,
      failed,
      lost: (error, atMs) => {
        unconfirmed();
        failed(error, atMs);
      },
    });
  });
}
