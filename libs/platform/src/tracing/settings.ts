import { KvcError } from '@kvcapsule/contracts/errors';

import { OtelEnvironment } from './environment.js';
import { SAMPLERS, type SamplerSettings } from './sampling.js';

/** What the variables `OTEL_*` say of traces; of secrets it holds none, the exporter reads its headers itself. */
export interface TracingSettings {
  /** Of the receiver, with its path. */
  readonly url: string;
  /** In place of the part's own name. */
  readonly service: string | undefined;
  /** Of every span. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly sampler: SamplerSettings;
  readonly compression: 'gzip' | 'none';
  /** Of one batch, with what is sent again. */
  readonly timeoutMs: number;
  readonly batch: {
    readonly delayMs: number;
    readonly timeoutMs: number;
    /** Spans that wait; what comes on top is lost. */
    readonly queue: number;
    readonly size: number;
  };
  /** Variables that are ignored and why, a line each. */
  readonly ignored: readonly string[];
}

/** Timers of Node take no more. */
const LONGEST_MS = 2 ** 31 - 1;
/** Spans of about a kilobyte. */
const LONGEST_QUEUE = 1_000_000;

const ENDPOINT = 'OTEL_EXPORTER_OTLP_ENDPOINT';
const TRACES_ENDPOINT = 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT';
/** Of a setting both for all signals and for traces alone, the second of which wins. */
const both = (name: string) => [`OTEL_EXPORTER_OTLP_${name}`, `OTEL_EXPORTER_OTLP_TRACES_${name}`] as const;

/**
 * Undefined unless the variables name a receiver of traces and leave tracing on. Throws `CONFIG_INVALID` naming every
 * variable by which spans would go astray.
 */
export function tracingSettings(env: NodeJS.ProcessEnv): TracingSettings | undefined {
  const otel = new OtelEnvironment(env);
  if (otel.text(ENDPOINT) === undefined && otel.text(TRACES_ENDPOINT) === undefined) return undefined;
  const isOff = otel.choice('OTEL_SDK_DISABLED', ['true', 'false'], 'false') === 'true';
  if (isOff || otel.choice('OTEL_TRACES_EXPORTER', ['otlp', 'none'], 'otlp') === 'none') return undefined;
  const settings = {
    url: urlOf(otel),
    service: otel.text('OTEL_SERVICE_NAME'),
    attributes: otel.attributes('OTEL_RESOURCE_ATTRIBUTES'),
    sampler: samplerOf(otel),
    compression: both('COMPRESSION').reduce<'gzip' | 'none'>(
      (otherwise, name) => otel.choice(name, ['gzip', 'none'], otherwise),
      'none',
    ),
    timeoutMs: both('TIMEOUT').reduce(
      (otherwise, name) => otel.number(name, MILLISECONDS, otherwise),
      10_000,
    ),
    batch: batchOf(otel),
    ignored: otel.ignored,
  };
  checkTheRest(otel);
  if (otel.faults.length > 0) throw new KvcError('CONFIG_INVALID', otel.faults.join('; '));
  return settings;
}

const MILLISECONDS = { least: 1, most: LONGEST_MS };

function urlOf(otel: OtelEnvironment): string {
  const [all, traces] = [otel.endpoint(ENDPOINT), otel.endpoint(TRACES_ENDPOINT)];
  if (traces || !all) return traces?.href ?? '';
  all.pathname = `${all.pathname.replace(/\/$/, '')}/v1/traces`;
  return all.href;
}

function samplerOf(otel: OtelEnvironment): SamplerSettings {
  return {
    name: otel.choice('OTEL_TRACES_SAMPLER', SAMPLERS, 'parentbased_always_on'),
    ratio: otel.number('OTEL_TRACES_SAMPLER_ARG', { least: 0, most: 1 }, 1),
  };
}

function batchOf(otel: OtelEnvironment): TracingSettings['batch'] {
  const spans = { least: 1, most: LONGEST_QUEUE };
  const queue = otel.number('OTEL_BSP_MAX_QUEUE_SIZE', spans, 2_048);
  return {
    delayMs: otel.number('OTEL_BSP_SCHEDULE_DELAY', MILLISECONDS, 5_000),
    timeoutMs: otel.number('OTEL_BSP_EXPORT_TIMEOUT', MILLISECONDS, 30_000),
    queue,
    size: otel.number('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', { least: 1, most: queue }, Math.min(512, queue)),
  };
}

/** What the exporter reads itself, and what has one value here. */
function checkTheRest(otel: OtelEnvironment): void {
  for (const name of both('PROTOCOL')) otel.choice(name, ['http/json'], 'http/json');
  for (const name of both('HEADERS')) otel.headers(name);
  for (const kind of ['CERTIFICATE', 'CLIENT_CERTIFICATE', 'CLIENT_KEY'])
    for (const name of both(kind)) otel.file(name);
}
