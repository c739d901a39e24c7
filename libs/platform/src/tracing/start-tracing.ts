import type { Logger } from '../logging/index.js';
import type { TracingSettings } from './settings.js';
import type { Tracing } from './span.js';

/** Undefined without settings, and then nothing of OpenTelemetry is loaded. */
export async function startTracing(
  part: { readonly service: string; readonly instance: string },
  settings: TracingSettings | undefined,
  logger: Logger,
): Promise<Tracing | undefined> {
  if (!settings) return undefined;
  const { OtlpTracing } = await import('./otlp-tracing.js');
  return new OtlpTracing(part, settings, logger);
}
