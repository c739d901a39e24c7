import type { WorkerMetrics } from '@kvcapsule/platform/telemetry';
import type { Span, Tracing } from '@kvcapsule/platform/tracing';
import type { RequestEvent } from '@kvcapsule/serving';

/** When things happened to one request, in milliseconds of `performance.now()`. */
interface Times {
  readonly arrivedMs: number;
  scheduledMs: number | undefined;
  firstTokenMs: number | undefined;
  lastTokenMs: number;
  tokens: number;
  readonly span: Span | undefined;
}

const SECOND_MS = 1_000;

/** How long requests waited, were prefilled and decoded, by the events that they are told of. */
export class RequestTimes {
  readonly #requests = new Map<string, Times>();

  constructor(
    private readonly metrics: WorkerMetrics,
    private readonly tracing?: Tracing,
  ) {}

  /** @param traceparent of who sent it */
  arrived(key: string, nowMs: number, traceparent?: string): void {
    const span = this.tracing?.join('generate', traceparent);
    const times = { scheduledMs: undefined, firstTokenMs: undefined, lastTokenMs: 0, tokens: 0 };
    this.#requests.set(key, { arrivedMs: nowMs, ...times, span });
  }

  /** Of the trace that records it. */
  traceId(key: string): string | undefined {
    return this.#requests.get(key)?.span?.traceId;
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
    if (event.kind === 'recompressed') times.span?.event('recompressed');
    if (event.kind === 'delta') {
      times.firstTokenMs ??= nowMs;
      times.lastTokenMs = nowMs;
      times.tokens += event.tokenIds.length;
      return;
    }
    if (event.kind !== 'finished' && event.kind !== 'failed') return;
    this.#requests.delete(key);
    if (times.span) record(times.span, times, event);
    if (event.kind === 'finished') this.#finished(times, nowMs);
  }

  /** A stage of one of its pictures is over. */
  pictured(key: string, stage: 'decode' | 'encode', beganMs: number, endedMs: number): void {
    this.#requests.get(key)?.span?.note(`picture ${stage}`, beganMs, endedMs);
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

/** Its parts are known when it is over: nothing is done for them while tokens come. */
function record(span: Span, times: Times, event: RequestEvent): void {
  const { arrivedMs, scheduledMs, firstTokenMs, lastTokenMs, tokens } = times;
  if (scheduledMs !== undefined) span.note('queue', arrivedMs, scheduledMs);
  if (scheduledMs !== undefined && firstTokenMs !== undefined) {
    span.note('prefill', scheduledMs, firstTokenMs);
    span.note('decode', firstTokenMs, lastTokenMs, { 'gen_ai.usage.output_tokens': tokens });
  }
  if (event.kind === 'finished') {
    const { promptTokens, cachedTokens, kv } = event.usage;
    span.set({ 'gen_ai.usage.input_tokens': promptTokens, 'kvcapsule.cached_tokens': cachedTokens });
    span.set({ 'kvcapsule.kv.codec': kv.codec, 'kvcapsule.kv.bytes': kv.bytes });
    span.set({ 'kvcapsule.kv.raw_bytes': kv.rawBytes, 'gen_ai.response.finish_reasons': event.reason });
  }
  span.end(event.kind === 'failed' ? event.code.toLowerCase() : undefined);
}
