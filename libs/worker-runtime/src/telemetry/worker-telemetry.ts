import type { WorkerMetrics } from '@kvcapsule/platform/telemetry';
import type { Report, Serving } from '@kvcapsule/serving';
import type { Logger } from 'pino';

import { PressureMetrics } from './pressure-metrics.js';

type ReportOf<Kind extends Report['kind']> = Extract<Report, { readonly kind: Kind }>;

/** Turns what the core reports into metrics and log lines. */
export class WorkerTelemetry {
  readonly #pressure: PressureMetrics;

  constructor(
    readonly metrics: WorkerMetrics,
    private readonly logger: Logger,
  ) {
    this.#pressure = new PressureMetrics(metrics);
  }

  observe(report: Report): void {
    const { metrics, logger } = this;
    switch (report.kind) {
      case 'requestReceived':
        metrics.requestsStarted.inc();
        return;
      case 'requestFinished':
        this.#finished(report);
        return;
      case 'requestFailed':
        this.#failed(report);
        return;
      case 'requestRefused':
        metrics.requests.inc({ reason: 'error' });
        return;
      case 'poolExhausted':
        logger.warn(report.ids, 'a request ended because the pool is full');
        return;
      case 'stepPlanned':
        this.#pressure.update(report.counters);
        return;
      case 'stepLanded':
        this.#landed(report);
        return;
      case 'stepsFailed':
        logger.error({ err: report.error, steps: report.steps }, 'a step failed');
        return;
      case 'engineLost':
        logger.fatal({ err: report.error }, 'the engine loop has failed');
        return;
      case 'featuresLookedUp':
        metrics.encoderCacheLookups.inc({ outcome: report.outcome });
        return;
      case 'featuresEvicted':
        metrics.encoderCacheEvictions.inc();
        return;
    }
  }

  /** Brings the gauges up to date; call before they are read. */
  updateGauges({ running, waiting, gauges, pictures, scheduler }: Serving): void {
    const { metrics } = this;
    metrics.requestsRunning.set(running);
    metrics.requestsWaiting.set(waiting);
    metrics.pagesFree.set(gauges.freePages);
    metrics.pagesHeld.set(gauges.heldPages);
    metrics.pagesCached.set(gauges.cachedPages);
    for (const [codec, { held, written }] of gauges.bytes) {
      metrics.kvBytes.set({ codec }, held);
      metrics.kvPaddingBytes.set({ codec }, held - written);
    }
    metrics.encoderCacheBytes.set(pictures.cache.bytes);
    metrics.kvRawEquivalentBytes.set(gauges.rawEquivalentBytes);
    const { prefillSeconds, towerSeconds, compressionSeconds } = scheduler.costs;
    metrics.rebuildSeconds.set({ of: 'prefill_token' }, prefillSeconds);
    metrics.rebuildSeconds.set({ of: 'tower_token' }, towerSeconds);
    metrics.rebuildSeconds.set({ of: 'compressed_page' }, compressionSeconds);
  }

  #finished({ ids, reason, usage }: ReportOf<'requestFinished'>): void {
    const { requests, tokens } = this.metrics;
    const { promptTokens, cachedTokens, completionTokens } = usage;
    this.logger.info({ ...ids, reason, promptTokens, cachedTokens, completionTokens }, 'a request ended');
    requests.inc({ reason });
    tokens.inc({ kind: 'prompt' }, promptTokens);
    tokens.inc({ kind: 'completion' }, completionTokens);
  }

  #failed({ ids, code }: ReportOf<'requestFailed'>): void {
    this.logger.warn({ ...ids, code }, 'a request failed');
    this.metrics.requests.inc({ reason: 'error' });
  }

  #landed({ durationMs, compressions, compressSeconds }: ReportOf<'stepLanded'>): void {
    const { step, compress } = this.metrics;
    step.observe(durationMs / 1000);
    for (let index = 0; index < compressions; index += 1) compress.observe(compressSeconds / compressions);
  }
}
