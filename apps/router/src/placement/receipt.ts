import type { PlacementReceipt } from '@kvcapsule/contracts/openai';
import type { BreakerState } from '@kvcapsule/domain/retries';
import type { Demand } from './demand.js';
import type { Reservation } from './reservation.js';

/** Who answers a request, and why: facts for its client and for operators. */
export interface Receipt {
  readonly workerId: string;
  readonly epoch: number;
  readonly reason: string;
  readonly promptTokens: number;
  /** Of the prompt that the worker is known to hold. */
  readonly heldTokens: number;
  readonly pages: number;
  readonly codec: string;
  /** Of the worker's breaker when the request was sent: open where all that might take it were left alone. */
  readonly breaker: BreakerState;
  /** In tokens of prefill. */
  readonly cost: number;
  /** By scorer, weights included. */
  readonly costs: Readonly<Record<string, number>>;
}

export function receiptOf(
  { promptTokens, kvCodec }: Demand,
  { record, pages, pick, trial }: Reservation,
): Receipt {
  const { workerId, epoch, codec } = record;
  const { reason, held, total, costs } = pick;
  const heldTokens = held?.prefixTokens ?? 0;
  const place = { workerId, epoch, reason, pages, codec: kvCodec ?? codec, breaker: trial.state };
  return { ...place, promptTokens, heldTokens, cost: total, costs };
}

/** As operators are told of it. */
export function placedOf(receipt: Receipt, atMs: number): PlacementReceipt['placements'][number] {
  const { workerId, promptTokens, heldTokens, ...facts } = receipt;
  const tokens = { prompt_tokens: promptTokens, held_tokens: heldTokens };
  return { at: atMs / 1_000, worker: workerId, ...tokens, ...facts };
}

export const RECEIPT_HEADERS = [
  'x-kvcapsule-worker',
  'x-kvcapsule-worker-epoch',
  'x-kvcapsule-placement',
] as const;

/** The headers of an answer whose client asked for a receipt; a dictionary as in RFC 8941 says why. */
export function receiptHeaders({ workerId, epoch, ...receipt }: Receipt): Record<string, string> {
  const { reason, promptTokens, heldTokens, pages, codec, breaker, cost, costs } = receipt;
  const facts = [
    `reason=${reason}`,
    `prompt-tokens=${promptTokens}`,
    `held-tokens=${heldTokens}`,
    `pages=${pages}`,
    `codec=${sendable(codec)}`,
    ...(breaker === 'closed' ? [] : [`breaker=${breaker}`]),
    `cost=${Math.round(cost)}`,
    ...Object.entries(costs).map(([name, tokens]) => `cost-${name}=${Math.round(tokens)}`),
  ];
  return {
    'x-kvcapsule-worker': sendable(workerId),
    'x-kvcapsule-worker-epoch': String(epoch),
    'x-kvcapsule-placement': facts.join(', '),
  };
}

/** A worker names itself and its codecs: what no header can hold is written as in URLs. */
function sendable(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}
