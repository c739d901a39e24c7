import {
  ROOT_CONTEXT,
  type Span as OtelSpan,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Tracer,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  type ReadableSpan,
  type SpanExporter,
  TracerProvider,
} from '@opentelemetry/sdk-trace';

import { RepeatedFaults } from '../faults/index.js';
import type { Logger } from '../logging/index.js';
import { type Sampler, samplerOf } from './sampling.js';
import type { TracingSettings } from './settings.js';
import type { Attributes, Span, Tracing } from './span.js';
import { parseTraceparent, type TraceContext } from './trace-context.js';

/** The longest that an end waits for spans that are left. */
const CLOSE_MS = 2_000;

/** Sends spans over OTLP/HTTP, in batches; a receiver that is slow or away costs spans, never a request. */
export class OtlpTracing implements Tracing {
  readonly #provider: TracerProvider;
  readonly #tracer: Tracer;
  readonly #sampler: Sampler;

  constructor(
    part: { readonly service: string; readonly instance: string },
    settings: TracingSettings,
    logger: Logger,
  ) {
    const { attributes, batch } = settings;
    this.#sampler = samplerOf(settings.sampler, Math.random);
    this.#provider = new TracerProvider({
      resource: resourceFromAttributes({
        ...attributes,
        ...{ 'service.name': settings.service ?? part.service, 'service.instance.id': part.instance },
      }),
      // what is not to be recorded never comes here
      sampler: new AlwaysOnSampler(),
      spanProcessors: [
        new BatchSpanProcessor({
          exporter: new WatchedExporter(exporterOf(settings), new RepeatedFaults(logger)),
          scheduledDelayMillis: batch.delayMs,
          exportTimeoutMillis: batch.timeoutMs,
          maxQueueSize: batch.queue,
          maxExportBatchSize: batch.size,
        }),
      ],
    });
    this.#tracer = this.#provider.getTracer('kvcapsule');
  }

  begin(name: string, traceparent: string | undefined): Span | undefined {
    const parent = parseTraceparent(traceparent);
    return this.#sampler(parent) ? this.#start(name, parent) : undefined;
  }

  join(name: string, traceparent: string | undefined): Span | undefined {
    const parent = parseTraceparent(traceparent);
    return parent?.isSampled ? this.#start(name, parent) : undefined;
  }

  async close(): Promise<void> {
    const late = new Promise((resolve) => setTimeout(resolve, CLOSE_MS).unref());
    await Promise.race([this.#provider.shutdown().catch(() => undefined), late]);
  }

  #start(name: string, parent: TraceContext | undefined): Span {
    const remote = parent && {
      ...{ traceId: parent.traceId, spanId: parent.spanId },
      ...{ traceFlags: TraceFlags.SAMPLED, isRemote: true },
    };
    const context = remote ? trace.setSpanContext(ROOT_CONTEXT, remote) : ROOT_CONTEXT;
    return new OtlpSpan(this.#tracer, this.#tracer.startSpan(name, { kind: SpanKind.SERVER }, context));
  }
}

class OtlpSpan implements Span {
  readonly traceId: string;
  readonly traceparent: string;

  constructor(
    private readonly tracer: Tracer,
    private readonly span: OtelSpan,
  ) {
    const { traceId, spanId } = span.spanContext();
    this.traceId = traceId;
    this.traceparent = `00-${traceId}-${spanId}-01`;
  }

  child(name: string): Span {
    const context = trace.setSpan(ROOT_CONTEXT, this.span);
    return new OtlpSpan(this.tracer, this.tracer.startSpan(name, { kind: SpanKind.CLIENT }, context));
  }

  note(name: string, beganMs: number, endedMs: number, attributes: Attributes = {}): void {
    const context = trace.setSpan(ROOT_CONTEXT, this.span);
    const startTime = performance.timeOrigin + beganMs;
    const span = this.tracer.startSpan(name, { startTime, attributes: { ...attributes } }, context);
    span.end(performance.timeOrigin + endedMs);
  }

  event(name: string, attributes: Attributes = {}): void {
    this.span.addEvent(name, { ...attributes });
  }

  set(attributes: Attributes): void {
    this.span.setAttributes({ ...attributes });
  }

  end(code?: string): void {
    if (code !== undefined) {
      this.span.setStatus({ code: SpanStatusCode.ERROR });
      this.span.setAttribute('error.type', code);
    }
    this.span.end();
  }
}

type ExporterOptions = NonNullable<ConstructorParameters<typeof OTLPTraceExporter>[0]>;

function exporterOf({ url, compression, timeoutMs, batch }: TracingSettings): SpanExporter {
  return new OTLPTraceExporter({
    url,
    compression: compression as NonNullable<ExporterOptions['compression']>,
    timeoutMillis: timeoutMs,
    // at the end a whole queue is sent at once, beside the batch that is on its way
    concurrencyLimit: Math.ceil(batch.queue / batch.size) + 1,
  });
}

/** Says so where spans are lost, without what the receiver has answered. */
class WatchedExporter implements SpanExporter {
  constructor(
    private readonly exporter: SpanExporter,
    private readonly faults: RepeatedFaults,
  ) {}

  export(spans: ReadableSpan[], done: Parameters<SpanExporter['export']>[1]): void {
    this.exporter.export(spans, (result) => {
      if (result.error)
        this.faults.warn({ code: codeOf(result.error) }, 'spans are lost: their receiver takes none');
      done(result);
    });
  }

  shutdown(): Promise<void> {
    return this.exporter.shutdown();
  }
}

/** Of the system's error or of HTTP's answer; else what the exporter calls it. */
function codeOf(error: Error): string {
  const { code } = error as { readonly code?: string | number };
  return String(code ?? error.message);
}
