import { randomUUID } from 'node:crypto';
import type { KvcError } from '@kvcapsule/contracts/errors';
import type { Finished, Prefill } from '@kvcapsule/contracts/worker';
import type { Transcript, TranscriptEntry } from '../../generation/transcript.js';

/** How an answer looks on the wire. Holds no socket. */
export interface Renderer {
  readonly headers: Readonly<Record<string, string>>;
  /** Everything leaves at the end, in one piece. */
  readonly isWhole: boolean;
  /** Means nothing to whoever reads the body. */
  readonly filler: string;
  /** How much of the prompt is computed, in words that mean nothing to who did not ask; empty where nobody asked. */
  prefilled(prefill: Prefill): string;
  /** Empty while there is nothing to send. */
  entries(entries: readonly TranscriptEntry[], transcript: Transcript): string;
  finished(finished: Finished, transcript: Transcript): string;
  /** Of an answer whose status has left. */
  fault(error: KvcError): string;
}

/** What every chunk of an answer, or the whole of it, begins with. */
export function answerHead(model: string) {
  return { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model };
}
