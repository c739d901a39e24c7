import type { WorkerMetrics } from '@kvcapsule/platform/telemetry';
import type { Tracing } from '@kvcapsule/platform/tracing';
import type { KvGauges, Report, RequestEvent, Serving } from '@kvcapsule/serving';
import type { Logger } from 'pino';

import { PressureMetrics } from './pressure-metrics.js';
import { RequestTimes } from './request-times.js';

type ReportOf<Kind extends Report['kind']> = Extract<Report, { readonly kind: Kind }>;

/** How pages are kept that a codec's rows are in. */
function stateOf(codec: string): 'raw' | 'rows' | 'capsule' {
  if (codec === 'raw') return 'raw';
  return codec.startsWith('capsule') ? 'capsule' : 'rows';
}

/** Turns what the core reports into metrics and log lines. */
export class WorkerTelemetry {
  readonly #pressure: PressureMetrics;
  readonly #times: RequestTimes;

  /** @param codecs of the engine's formats, by their numbers */
  constructor(
    readonly metrics: WorkerMetrics,
    private readonly logger: Logger,
    codecs: readonly string[],
    tracing?: Tracing,
  ) {
    this.#pressure = new PressureMetrics(metrics, codecs);
    this.#times = new RequestTimes(metrics, tracing);
  }

  /** A request has come, before the core has seen it. */
  submitted(key: string, traceparent: string | undefined): void {
    this.#times.arrived(key, performance.now(), traceparent);
  }

  /** A stage of one of a request's pictures is over. */
  pictured(key: string, stage: 'decode' | 'encode', beganMs: number): void {
    this.#times.pictured(key, stage, beganMs, performance.now());
  }

  /** What the request's sender is told. */
  told(key: string, event: RequestEvent): void {
    this.#times.happened(key, event, performance.now());
  }

  observe(report: Report): void {
    const { metrics, logger } = this;
    switch (report.kind) {
      case 'requestReceived':
        metrics.requestsStarted.inc();
        return;
      case 'requestScheduled':
        this.#times.scheduled(report.key, performance.now());
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
        logger.warn(this.#idsOf(report), 'a request ended because the pool is full');
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
    this.#updatePages(gauges);
    metrics.encoderCacheBytes.set(pictures.cache.bytes);
    metrics.kvRawEquivalentBytes.set(gauges.rawEquivalentBytes);
    const { prefillSeconds, towerSeconds, compressionSeconds } = scheduler.costs;
    metrics.rebuildSeconds.set({ of: 'prefill_token' }, prefillSeconds);
    metrics.rebuildSeconds.set({ of: 'tower_token' }, towerSeconds);
    metrics.rebuildSeconds.set({ of: 'compressed_page' }, compressionSeconds);
  }

  #updatePages({ bytes, pageBytes, freePages, cachedPages, swappedPages }: KvGauges): void {
    const { kvBytes, kvPaddingBytes, kvRawBytes, pages, swapUsed } = this.metrics;
    const states = { raw: 0, rows: 0, capsule: 0 };
    for (const [codec, { held, written, raw }] of bytes) {
      kvBytes.set({ codec }, held);
      kvPaddingBytes.set({ codec }, held - written);
      kvRawBytes.set({ codec }, raw);
      states[stateOf(codec)] += held / pageBytes;
    }
    const all = { ...states, cached: cachedPages, free: freePages - cachedPages };
    for (const [state, count] of Object.entries(all)) pages.set({ state }, count);
    swapUsed.set(swappedPages * pageBytes);
  }

  /** What its lines begin with; `traceId` where it is recorded. */
  #idsOf({ key, ids }: Pick<ReportOf<'requestFinished'>, 'key' | 'ids'>): object {
    const traceId = this.#times.traceId(key);
    return traceId === undefined ? ids : { ...ids, traceId };
  }

  #finished(report: ReportOf<'requestFinished'>): void {
    const { reason, usage } = report;
    const { requests, tokens } = this.metrics;
    const { promptTokens, cachedTokens, completionTokens } = usage;
    this.logger.info(
      { ...this.#idsOf(report), reason, promptTokens, cachedTokens, completionTokens },
      'a request ended',
    );
    requests.inc({ reason });
    tokens.inc({ kind: 'prompt' }, promptTokens);
    tokens.inc({ kind: 'completion' }, completionTokens);
    this.metrics.requestPromptTokens.observe(promptTokens);
    this.metrics.requestCompletionTokens.observe(completionTokens);
  }

  #failed(report: ReportOf<'requestFailed'>): void {
    this.logger.warn({ ...this.#idsOf(report), code: report.code }, 'a request failed');
    this.metrics.requests.inc({ reason: 'error' });
  }

  #landed({ durationMs, rows, compressions, compressSeconds }: ReportOf<'stepLanded'>): void {
    const { step, stepTokens, compress } = this.metrics;
    step.observe(durationMs / 1000);
    stepTokens.observe(rows);
    for (let index = 0; index < compressions; index += 1) compress.observe(compressSeconds / compressions);
  }
}
