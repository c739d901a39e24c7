import type { KvcError } from '@kvcapsule/contracts/errors';
import type { Finished } from '@kvcapsule/contracts/worker';
import { createMetrics, type RouterMetrics } from '@kvcapsule/platform/telemetry';
import { Injectable } from '@nestjs/common';
import type { TranscriptObserver } from '../generation/transcript.js';

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

  /** Notes when things happen to one generation, from here to its end. */
  observe(): TranscriptObserver {
    return new GenerationTimes(this);
  }
}

class GenerationTimes implements TranscriptObserver {
  readonly #beganMs = performance.now();
  #tokenMs: number | undefined;
  #running = false;

  constructor(private readonly telemetry: Telemetry) {}

  started(): void {
    if (this.#running) return;
    this.#running = true;
    this.telemetry.running += 1;
  }

  appended(nowMs: number): void {
    const { timeToFirstToken, interTokenLatency } = this.telemetry.metrics;
    if (this.#tokenMs === undefined) timeToFirstToken.observe((nowMs - this.#beganMs) / SECOND_MS);
    else interTokenLatency.observe((nowMs - this.#tokenMs) / SECOND_MS);
    this.#tokenMs = nowMs;
  }

  ended(finished: Finished | undefined): void {
    const { metrics } = this.telemetry;
    const nowMs = performance.now();
    if (this.#running) this.telemetry.running -= 1;
    metrics.requestDuration.observe((nowMs - this.#beganMs) / SECOND_MS);
    if (!finished) return;
    if (this.#tokenMs === undefined) this.appended(nowMs);
    metrics.tokens.inc({ kind: 'prompt' }, finished.usage?.promptTokens ?? 0);
    metrics.tokens.inc({ kind: 'completion' }, finished.usage?.completionTokens ?? 0);
  }
}
