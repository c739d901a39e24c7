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
import { AlwaysOnSampler, BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';

import { type Sampler, samplerOf } from './sampling.js';
import type { Attributes, Span, Tracing } from './span.js';
import { parseTraceparent, type TraceContext } from './trace-context.js';

export interface OtlpOptions {
  readonly service: string;
  readonly instance: string;
  readonly env: NodeJS.ProcessEnv;
}

/** The longest that an end waits for spans that are left. */
const CLOSE_MS = 2_000;

/** Sends spans over OTLP/HTTP, in batches; a receiver that is slow or away costs spans, never a request. */
export class OtlpTracing implements Tracing {
  readonly #provider: TracerProvider;
  readonly #tracer: Tracer;
  readonly #sampler: Sampler;

  constructor({ service, instance, env }: OtlpOptions) {
    this.#sampler = samplerOf(env, Math.random);
    this.#provider = new TracerProvider({
      resource: resourceFromAttributes({ 'service.name': service, 'service.instance.id': instance }),
      // what is not to be recorded never comes here
      sampler: new AlwaysOnSampler(),
      spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter() })],
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
