import { KvcError } from '@kvcapsule/contracts/errors';
import type { PlacementReceipt } from '@kvcapsule/contracts/openai';
import { Injectable } from '@nestjs/common';
import { placedOf, type Receipt } from './receipt.js';

/** Requests whose receipts are kept: minutes of a busy router, about 4 MB. */
const KEPT_REQUESTS = 8_192;
/** Of one request, the newest: one that waits for room meets a worker at each of its turns. */
const KEPT_PLACEMENTS = 8;

const NOT_KEPT = 'No receipt of such a request is kept here; each process of a router keeps its own.';

type Placed = PlacementReceipt['placements'][number];

/** Who was given the last requests, and why, for operators who come with a request's id. */
@Injectable()
export class Receipts {
  /** By request, in the order in which they were first placed. */
  readonly #kept = new Map<string, Placed[]>();

  note(requestId: string, receipt: Receipt): void {
    const placed = this.#kept.get(requestId) ?? [];
    placed.push(placedOf(receipt, Date.now()));
    if (placed.length > KEPT_PLACEMENTS) placed.shift();
    this.#kept.set(requestId, placed);
    const [oldest] = this.#kept.keys();
    if (oldest !== undefined && this.#kept.size > KEPT_REQUESTS) this.#kept.delete(oldest);
  }

  /** Throws `NOT_FOUND` for a request that this process has not placed, or too long ago. */
  of(requestId: string): PlacementReceipt {
    const placements = this.#kept.get(requestId);
    if (!placements) throw new KvcError('NOT_FOUND', NOT_KEPT);
    return { object: 'placement.receipt', id: requestId, placements: [...placements] };
  }
}
