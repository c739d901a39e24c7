import type { Tracing } from './span.js';

/**
 * Tracing as the standard variables `OTEL_*` say; undefined, and nothing of OpenTelemetry loaded, unless they name an
 * endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`).
 *
 * @param service its name, where `OTEL_SERVICE_NAME` says no other
 */
export async function startTracing(
  service: string,
  instance: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Tracing | undefined> {
  const endpoint = env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'] ?? env['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? '';
  const isOff = env['OTEL_SDK_DISABLED'] === 'true' || env['OTEL_TRACES_EXPORTER'] === 'none';
  if (endpoint === '' || isOff) return undefined;
  const { OtlpTracing } = await import('./otlp-tracing.js');
  return new OtlpTracing({ service: env['OTEL_SERVICE_NAME'] ?? service, instance, env });
}
