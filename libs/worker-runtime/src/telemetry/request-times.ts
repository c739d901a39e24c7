import type { WorkerMetrics } from '@kvcapsule/platform/telemetry';
import type { RequestEvent } from '@kvcapsule/serving';

/** When things happened to one request, in milliseconds of `performance.now()`. */
interface Times {
  readonly arrivedMs: number;
  scheduledMs: number | undefined;
  firstTokenMs: number | undefined;
  lastTokenMs: number;
  tokens: number;
}

const SECOND_MS = 1_000;

/** How long requests waited, were prefilled and decoded, by the events that they are told of. */
export class RequestTimes {
  readonly #requests = new Map<string, Times>();

  constructor(private readonly metrics: WorkerMetrics) {}

  arrived(key: string, nowMs: number): void {
    const times = { scheduledMs: undefined, firstTokenMs: undefined, lastTokenMs: 0, tokens: 0 };
    this.#requests.set(key, { arrivedMs: nowMs, ...times });
  }

  /** It takes part in a step; where it was preempted and comes back the first time counts. */
  scheduled(key: string, nowMs: number): void {
    const times = this.#requests.get(key);
    if (!times) return;
    times.scheduledMs ??= nowMs;
    this.metrics.requestQueue.observe((times.scheduledMs - times.arrivedMs) / SECOND_MS);
  }

  happened(key: string, event: RequestEvent, nowMs: number): void {
    const times = this.#requests.get(key);
    if (!times) return;
    if (event.kind === 'delta') {
      times.firstTokenMs ??= nowMs;
      times.lastTokenMs = nowMs;
      times.tokens += event.tokenIds.length;
      return;
    }
    if (event.kind !== 'finished' && event.kind !== 'failed') return;
    this.#requests.delete(key);
    if (event.kind === 'finished') this.#finished(times, nowMs);
  }

  #finished({ arrivedMs, scheduledMs, firstTokenMs, lastTokenMs, tokens }: Times, nowMs: number): void {
    const { requestSeconds, requestPrefill, requestDecode, requestInference } = this.metrics;
    requestSeconds.observe((nowMs - arrivedMs) / SECOND_MS);
    if (scheduledMs === undefined || firstTokenMs === undefined) return;
    requestPrefill.observe((firstTokenMs - scheduledMs) / SECOND_MS);
    requestInference.observe((lastTokenMs - scheduledMs) / SECOND_MS);
    requestDecode.observe((lastTokenMs - firstTokenMs) / SECOND_MS);
    if (tokens > 1)
      this.metrics.requestTimePerToken.observe((lastTokenMs - firstTokenMs) / SECOND_MS / (tokens - 1));
  }
}
