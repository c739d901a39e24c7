import type { KvcError } from '@kvcapsule/contracts/errors';
import { type Finished, FinishReason } from '@kvcapsule/contracts/worker';
import { createMetrics, type RouterMetrics, UNKNOWN_MODEL } from '@kvcapsule/platform/telemetry';
import type { Span, Tracing } from '@kvcapsule/platform/tracing';
import { Injectable } from '@nestjs/common';
import type { TranscriptObserver } from '../generation/transcript.js';

const SECOND_MS = 1_000;
/** Without a token for so long a stream counts as stalled. */
const STALLED_MS = 30_000;

/** The router's metrics, and the requests they are about. */
@Injectable()
export class Telemetry {
  readonly metrics: RouterMetrics = createMetrics('router');
  readonly #running = new Set<GenerationTimes>();
  readonly #models = new Map<string, ModelMetrics>();

  /** @param tracing absent: nothing is recorded */
  constructor(private readonly tracing?: Tracing) {}

  /**
   * One request has ended: with 200 and no error, or with an error (whose status may have left as 200).
   *
   * @param model as this server names it; undefined where the request has named none that is served, or none yet
   */
  ended(model: string | undefined, status: number, error?: KvcError): void {
    const code = error ? error.code.toLowerCase() : 'ok';
    this.metrics.requests.inc({ model: model ?? UNKNOWN_MODEL, status: String(status), code });
  }

  /** Begins to record a request, where it is to be: as its client says, or as the sampler decides. */
  trace(
    traceparent: string | string[] | undefined,
    { id, model }: { readonly id: string; readonly model: string },
  ): Span | undefined {
    const given = typeof traceparent === 'string' ? traceparent : undefined;
    const span = this.tracing?.begin('POST /v1/chat/completions', given);
    span?.set({ 'kvcapsule.request.id': id, 'gen_ai.operation.name': 'chat', 'gen_ai.request.model': model });
    return span;
  }

  /** Notes when things happen to one generation of a model, as clients name it, from here to its end. */
  observe(model: string, span?: Span): TranscriptObserver {
    let metrics = this.#models.get(model);
    if (!metrics) this.#models.set(model, (metrics = modelMetrics(this.metrics, model)));
    return new GenerationTimes(this.#running, metrics, span);
  }

  /** Called once, when nothing is recorded any longer. Never rejects. */
  async close(): Promise<void> {
    await this.tracing?.close();
  }

  /** Requests a worker has accepted and not finished. */
  get running(): number {
    return this.#running.size;
  }

  /** Those of which nothing has come for long. */
  stalled(nowMs: number): number {
    let stalled = 0;
    for (const { newsMs } of this.#running) stalled += Number(nowMs - newsMs > STALLED_MS);
    return stalled;
  }
}

/** What is observed of every generation of one model. */
type ModelMetrics = ReturnType<typeof modelMetrics>;

function modelMetrics(metrics: RouterMetrics, model: string) {
  const label = { model };
  return {
    timeToFirstToken: metrics.timeToFirstToken.labels(label),
    interTokenLatency: metrics.interTokenLatency.labels(label),
    timePerOutputToken: metrics.timePerOutputToken.labels(label),
    requestDuration: metrics.requestDuration.labels(label),
    promptTokens: metrics.promptTokens.labels(label),
    completionTokens: metrics.completionTokens.labels(label),
    ended: (prompt: number, completion: number) => {
      metrics.tokens.inc({ model, kind: 'prompt' }, prompt);
      metrics.tokens.inc({ model, kind: 'completion' }, completion);
    },
    finished: (reason: 'stop' | 'length') => {
      metrics.finished.inc({ model, reason });
    },
  };
}

class GenerationTimes implements TranscriptObserver {
  readonly #beganMs = performance.now();
  #firstMs: number | undefined;
  /** Of the newest token, or of the worker's word that it has begun. */
  newsMs = this.#beganMs;

  constructor(
    private readonly running: Set<GenerationTimes>,
    private readonly metrics: ModelMetrics,
    private readonly span: Span | undefined,
  ) {}

  started(): void {
    if (this.running.has(this)) return;
    this.newsMs = performance.now();
    this.running.add(this);
  }

  appended(nowMs: number): void {
    const { timeToFirstToken, interTokenLatency } = this.metrics;
    if (this.#firstMs === undefined) {
      this.#firstMs = nowMs;
      timeToFirstToken.observe((nowMs - this.#beganMs) / SECOND_MS, this.span?.traceId);
      this.span?.event('first token');
    } else interTokenLatency.observe((nowMs - this.newsMs) / SECOND_MS, this.span?.traceId);
    this.newsMs = nowMs;
  }

  ended(finished: Finished | undefined): void {
    const nowMs = performance.now();
    this.running.delete(this);
    this.metrics.requestDuration.observe((nowMs - this.#beganMs) / SECOND_MS, this.span?.traceId);
    if (!finished) return;
    if (this.#firstMs === undefined) this.appended(nowMs);
    const { promptTokens = 0, completionTokens = 0 } = finished.usage ?? {};
    this.span?.set({
      'gen_ai.usage.input_tokens': promptTokens,
      'gen_ai.usage.output_tokens': completionTokens,
    });
    this.metrics.promptTokens.observe(promptTokens);
    this.metrics.completionTokens.observe(completionTokens);
    this.metrics.ended(promptTokens, completionTokens);
    this.metrics.finished(finished.reason === FinishReason.FINISH_REASON_LENGTH ? 'length' : 'stop');
    const decodeSeconds = (this.newsMs - (this.#firstMs ?? nowMs)) / SECOND_MS;
    if (completionTokens > 1) this.metrics.timePerOutputToken.observe(decodeSeconds / (completionTokens - 1));
  }
}
