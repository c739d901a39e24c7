import { KvcError } from '@kvcapsule/contracts/errors';
import type { PlacementReceipt } from '@kvcapsule/contracts/openai';
import { Injectable } from '@nestjs/common';
import type { Receipt } from './receipt.js';

/** Requests whose receipts are kept: minutes of a busy router, about 4 MB. */
const KEPT_REQUESTS = 8_192;
/** Of one request, the newest: one that waits for room meets a worker at each of its turns. */
const KEPT_PLACEMENTS = 8;

const NOT_KEPT = 'No receipt of such a request is kept here; each process of a router keeps its own.';

interface Placed extends Receipt {
  readonly atMs: number;
}

/** Who was given the last requests, and why, for operators who come with a request's id. */
@Injectable()
export class Receipts {
  /** By request, in the order in which they were first placed. */
  readonly #kept = new Map<string, Placed[]>();

  note(requestId: string, receipt: Receipt): void {
    const placed = this.#kept.get(requestId) ?? [];
    placed.push({ ...receipt, atMs: Date.now() });
    if (placed.length > KEPT_PLACEMENTS) placed.shift();
    this.#kept.set(requestId, placed);
    const [oldest] = this.#kept.keys();
    if (oldest !== undefined && this.#kept.size > KEPT_REQUESTS) this.#kept.delete(oldest);
  }

  /** Throws `NOT_FOUND` for a request that this process has not placed, or too long ago. */
  of(requestId: string): PlacementReceipt {
    if (!this.#kept.has(requestId)) throw new KvcError('NOT_FOUND', NOT_KEPT);
    return { object: 'placement.receipt', id: requestId, placements: this.find(requestId) };
  }

  /** Empty for such a request. */
  find(requestId: string): PlacementReceipt['placements'] {
    const placed = this.#kept.get(requestId) ?? [];
    return placed.map(({ atMs, workerId, promptTokens, heldTokens, ...receipt }) => ({
      at: atMs / 1_000,
      worker: workerId,
      prompt_tokens: promptTokens,
      held_tokens: heldTokens,
      ...receipt,
    }));
  }
}
