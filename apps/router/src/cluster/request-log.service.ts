import type { ClusterRequest, ClusterRequestDetail } from '@kvcapsule/contracts/cluster';
import { KvcError } from '@kvcapsule/contracts/errors';
import { type Finished, FinishReason } from '@kvcapsule/contracts/worker';
import { Injectable } from '@nestjs/common';
import type { GenerationRequest } from '../generation/generation.js';
import type { Transcript, TranscriptObserver } from '../generation/transcript.js';
import { placedOf, type Receipt } from '../placement/receipt.js';
import { type RecentQuantiles, RecentTimes } from './recent-times.js';

/** Ended requests that are remembered: a few numbers and short texts each, about 4 MB. */
const KEPT_ENDED = 4_096;
/** What a snapshot tells at most. */
const MOST_IN_FLIGHT = 200;
const MOST_ENDED = 100;
/** Of one request, the newest: one that waits for room meets a worker at each of its turns. */
const KEPT_PLACEMENTS = 8;
/** Over so long latencies are told. */
const WINDOW_MS = 30_000;

type Placed = ClusterRequestDetail['placements'][number];

/** What this router's requests are and were: who asked, where they are, how far; nothing of what they say. */
@Injectable()
export class RequestLog {
  readonly #inFlight = new Map<number, RequestEntry>();
  readonly #ended = new Map<number, RequestEntry>();
  /** Clients choose ids, and may choose the same; as long as they are remembered, oldest first. */
  readonly #byId = new Map<string, Set<RequestEntry>>();
  readonly #firstTokens = new RecentTimes(512);
  readonly #betweenTokens = new RecentTimes(2_048);
  #serials = 0;

  /** Notes what happens to one generation, and passes it on. */
  open(request: GenerationRequest, next: TranscriptObserver): RequestEntry {
    const times = { first: this.#firstTokens, between: this.#betweenTokens };
    const entry = new RequestEntry(++this.#serials, request, next, times, () => {
      this.#end(entry);
    });
    this.#inFlight.set(entry.serial, entry);
    this.#byId.set(request.id, (this.#byId.get(request.id) ?? new Set()).add(entry));
    return entry;
  }

  /** Of this router's: those that no worker has yet. */
  get queued(): number {
    let queued = 0;
    for (const { isQueued } of this.#inFlight.values()) if (isQueued) queued += 1;
    return queued;
  }

  /** The newest in flight, then the newest that have ended; of one tenant where it is named. */
  newest(tenant: string | undefined): ClusterRequest[] {
    return [
      ...newestOf(this.#inFlight, MOST_IN_FLIGHT, tenant),
      ...newestOf(this.#ended, MOST_ENDED, tenant),
    ].map((entry) => entry.told);
  }

  /** Those of that id that are remembered, newest first; of one tenant where it is named. */
  find(id: string, tenant: string | undefined): RequestEntry[] {
    return [...(this.#byId.get(id) ?? [])].filter((entry) => isOf(entry, tenant)).reverse();
  }

  /** In seconds, of the last half minute. */
  latencies(nowMs: number): {
    readonly firstToken: RecentQuantiles;
    readonly betweenTokens: RecentQuantiles;
  } {
    const sinceMs = nowMs - WINDOW_MS;
    return {
      firstToken: this.#firstTokens.quantiles(sinceMs),
      betweenTokens: this.#betweenTokens.quantiles(sinceMs),
    };
  }

  #end(entry: RequestEntry): void {
    this.#inFlight.delete(entry.serial);
    this.#ended.set(entry.serial, entry);
    if (this.#ended.size <= KEPT_ENDED) return;
    const [[serial, oldest]] = this.#ended as Iterable<[number, RequestEntry]> as [[number, RequestEntry]];
    this.#ended.delete(serial);
    const alike = this.#byId.get(oldest.id);
    alike?.delete(oldest);
    if (alike?.size === 0) this.#byId.delete(oldest.id);
  }
}

function newestOf(
  entries: ReadonlyMap<number, RequestEntry>,
  most: number,
  tenant: string | undefined,
): RequestEntry[] {
  const own =
    tenant === undefined
      ? [...entries.values()]
      : [...entries.values()].filter((entry) => isOf(entry, tenant));
  return own.slice(-most).reverse();
}

const isOf = (entry: RequestEntry, tenant: string | undefined) =>
  tenant === undefined || entry.tenant === tenant;

interface Times {
  readonly first: RecentTimes;
  readonly between: RecentTimes;
}

/** One request. While it is in flight it is read off its transcript, which is let go at its end. */
export class RequestEntry implements TranscriptObserver {
  readonly id: string;
  readonly tenant: string;
  readonly #model: string;
  readonly #pictures: number;
  readonly #kvCodec: string | undefined;
  readonly #startedAt = Date.now() / 1_000;
  readonly #startedMs = performance.now();
  #firstTokenMs: number | undefined;
  #lastTokenMs = 0;
  readonly #placements: Placed[] = [];
  #transcript: Transcript | undefined;
  #end: ClusterRequest | undefined;

  constructor(
    readonly serial: number,
    { id, model, principal, turns, kvCodec }: GenerationRequest,
    private readonly next: TranscriptObserver,
    private readonly times: Times,
    private readonly onEnd: () => void,
  ) {
    this.id = id;
    this.tenant = principal.tenant;
    this.#model = model.name;
    this.#kvCodec = kvCodec;
    this.#pictures = turns.reduce(
      (sum, { content }) => sum + content.filter((part) => typeof part !== 'string').length,
      0,
    );
  }

  /** What this request's record is. */
  follow(transcript: Transcript): void {
    this.#transcript = transcript;
  }

  get isQueued(): boolean {
    return this.#transcript?.receipt === undefined && this.#transcript?.accepted === true;
  }

  get told(): ClusterRequest {
    return this.#end ?? this.#tell();
  }

  /** The workers it was given to and why, in their order; the last eight. */
  get placements(): readonly Placed[] {
    return this.#placements;
  }

  placed(receipt: Receipt): void {
    this.#placements.push(placedOf(receipt, Date.now()));
    if (this.#placements.length > KEPT_PLACEMENTS) this.#placements.shift();
  }

  started(): void {
    this.next.started();
  }

  appended(nowMs: number): void {
    this.next.appended(nowMs);
    if (this.#firstTokenMs === undefined) {
      this.#firstTokenMs = nowMs;
      this.times.first.add((nowMs - this.#startedMs) / 1_000, nowMs);
    } else this.times.between.add((nowMs - this.#lastTokenMs) / 1_000, nowMs);
    this.#lastTokenMs = nowMs;
  }

  ended(finished: Finished | undefined): void {
    this.next.ended(finished);
    const fault = this.#transcript?.end;
    const code = fault && !fault.finished ? codeOf(fault.fault) : null;
    const { usage } = finished ?? {};
    const told = this.#tell();
    this.#end = {
      ...told,
      state: code === null && finished ? stateOf(finished) : code === 'aborted' ? 'aborted' : 'failed',
      error: finished ? null : code,
      completion_tokens: usage?.completionTokens ?? told.completion_tokens,
      codec: usage?.kv?.codec ?? told.codec,
      kv: kvOf(usage?.kv),
      ended_at: this.#at(performance.now()),
    };
    this.#transcript = undefined;
    this.onEnd();
  }

  #tell(): ClusterRequest {
    const { receipt, started, tokenIds } = this.#transcript ?? {};
    return {
      ...{ serial: this.serial, id: this.id, tenant: this.tenant, model: this.#model },
      state: this.#state(),
      worker: receipt?.workerId ?? null,
      pictures: this.#pictures,
      prompt_tokens: started?.promptTokens ?? receipt?.promptTokens ?? null,
      cached_tokens: started?.cachedTokens ?? null,
      completion_tokens: tokenIds?.length ?? 0,
      codec: receipt?.codec ?? this.#kvCodec ?? null,
      started_at: this.#startedAt,
      first_token_at: this.#firstTokenMs === undefined ? null : this.#at(this.#firstTokenMs),
      ...{ ended_at: null, error: null, kv: null },
    };
  }

  #state(): ClusterRequest['state'] {
    const transcript = this.#transcript;
    if (!transcript?.accepted) return 'preparing';
    if (!transcript.receipt) return 'queued';
    return this.#firstTokenMs === undefined ? 'prefill' : 'decoding';
  }

  #at(ms: number): number {
    return this.#startedAt + (ms - this.#startedMs) / 1_000;
  }
}

const codeOf = (fault: unknown) => (fault instanceof KvcError ? fault.code : 'INTERNAL').toLowerCase();

const stateOf = ({ reason }: Finished) =>
  reason === FinishReason.FINISH_REASON_ABORT ? 'aborted' : 'finished';

function kvOf(kv: NonNullable<Finished['usage']>['kv']): ClusterRequest['kv'] {
  if (!kv) return null;
  const { codec, bytes, rawBytes, pictures } = kv;
  return {
    codec,
    ...{ bytes: Number(bytes), raw_bytes: Number(rawBytes) },
    pictures: { bytes: Number(pictures?.bytes ?? 0), raw_bytes: Number(pictures?.rawBytes ?? 0) },
  };
}
