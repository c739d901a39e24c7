import type { KvcError } from '@kvcapsule/contracts/errors';
import type { Finished, Started, TokenLogprob } from '@kvcapsule/contracts/worker';
import { createMetrics, type RouterMetrics } from '@kvcapsule/platform/telemetry';
import { Injectable } from '@nestjs/common';
import type { GenerationSink } from '../generation/generation.js';

const SECOND_MS = 1_000;

/** The router's metrics, and the requests they are about. */
@Injectable()
export class Telemetry {
  readonly metrics: RouterMetrics = createMetrics('router');
  /** Requests a worker has accepted and not finished. */
  running = 0;

  /** One request has ended: with 200 and no error, or with an error (whose status may have left as 200). */
  ended(status: number, error?: KvcError): void {
    this.metrics.requests.inc({ status: String(status), code: error ? error.code.toLowerCase() : 'ok' });
  }

  /** Watches a request on its way to `sink` until `close`. */
  watch(sink: GenerationSink): RequestWatch {
    return new RequestWatch(this, sink);
  }
}

/** A sink that notes when things happen and passes them on. */
class RequestWatch implements GenerationSink {
  readonly #beganMs = performance.now();
  #tokenMs: number | undefined;
  #running = false;

  constructor(
    private readonly telemetry: Telemetry,
    private readonly sink: GenerationSink,
  ) {}

  queued(): void {
    this.sink.queued();
  }

  started(news: Started): void {
    this.#running = true;
    this.telemetry.running += 1;
    this.sink.started(news);
  }

  delta(text: string, logprobs: readonly TokenLogprob[]): void {
    this.#token();
    this.sink.delta(text, logprobs);
  }

  finished(news: Finished): void {
    const { metrics } = this.telemetry;
    if (this.#tokenMs === undefined) this.#token();
    this.sink.finished(news);
    metrics.tokens.inc({ kind: 'prompt' }, news.usage?.promptTokens ?? 0);
    metrics.tokens.inc({ kind: 'completion' }, news.usage?.completionTokens ?? 0);
  }

  /** The request is over, however it ended. */
  close(): void {
    if (this.#running) this.telemetry.running -= 1;
    this.telemetry.metrics.requestDuration.observe((performance.now() - this.#beganMs) / SECOND_MS);
  }

  #token(): void {
    const nowMs = performance.now();
    const { timeToFirstToken, interTokenLatency } = this.telemetry.metrics;
    if (this.#tokenMs === undefined) timeToFirstToken.observe((nowMs - this.#beganMs) / SECOND_MS);
    else interTokenLatency.observe((nowMs - this.#tokenMs) / SECOND_MS);
    this.#tokenMs = nowMs;
  }
}
