import { fileURLToPath } from 'node:url';

import { describe, expect, it } from 'vitest';

import { tracingSettings } from './index.js';

const ON = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' };
const FILE = fileURLToPath(import.meta.url);

const read = (env: NodeJS.ProcessEnv) => tracingSettings({ ...ON, ...env });

describe('the variables of OpenTelemetry', () => {
  it.each<NodeJS.ProcessEnv>([
    {},
    { OTEL_EXPORTER_OTLP_ENDPOINT: '' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: ' ', OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: '' },
    { OTEL_TRACES_SAMPLER: 'nonsense' },
    { ...ON, OTEL_SDK_DISABLED: 'True' },
    { ...ON, OTEL_TRACES_EXPORTER: 'none' },
  ])('leave tracing off: %j', (env) => {
    expect(tracingSettings(env)).toBeUndefined();
  });

  it('say nothing more: what is usual holds', () => {
    expect(
      read({ OTEL_TRACES_SAMPLER_ARG: '', OTEL_EXPORTER_OTLP_HEADERS: ' ', OTEL_SERVICE_NAME: '' }),
    ).toEqual({
      url: 'http://127.0.0.1:4318/v1/traces',
      service: undefined,
      attributes: {},
      sampler: { name: 'parentbased_always_on', ratio: 1 },
      compression: 'none',
      timeoutMs: 10_000,
      batch: { delayMs: 5_000, timeoutMs: 30_000, queue: 2_048, size: 512 },
      ignored: [],
    });
  });

  it('are all taken', () => {
    const set = read({
      OTEL_SERVICE_NAME: 'eyes',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment=test, team = vision%2Cinfra',
      OTEL_TRACES_SAMPLER: 'traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.25',
      OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
      OTEL_EXPORTER_OTLP_TIMEOUT: '5000',
      OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: '2000',
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20abc,x-team=a=b',
      OTEL_EXPORTER_OTLP_CERTIFICATE: FILE,
      OTEL_BSP_SCHEDULE_DELAY: '100',
      OTEL_BSP_EXPORT_TIMEOUT: '200',
      OTEL_BSP_MAX_QUEUE_SIZE: '100',
    });
    expect(set).toMatchObject({
      service: 'eyes',
      attributes: { 'deployment.environment': 'test', team: 'vision,infra' },
      sampler: { name: 'traceidratio', ratio: 0.25 },
      compression: 'gzip',
      timeoutMs: 2_000,
      batch: { delayMs: 100, timeoutMs: 200, queue: 100, size: 100 },
      ignored: [],
    });
    expect(JSON.stringify(set)).not.toContain('abc');
  });

  it.each([
    ['http://h:4318/', undefined, 'http://h:4318/v1/traces'],
    ['https://h/otlp/', undefined, 'https://h/otlp/v1/traces'],
    ['http://h/otlp?tenant=1', undefined, 'http://h/otlp/v1/traces?tenant=1'],
    ['http://h:4318', 'http://other/spans ', 'http://other/spans'],
    [undefined, ' http://other ', 'http://other/'],
    ['http://h:4318', '', 'http://h:4318/v1/traces'],
  ])('name the receiver: %s and %s', (all, traces, url) => {
    const names = { OTEL_EXPORTER_OTLP_ENDPOINT: all, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: traces };
    expect(tracingSettings(names)?.url).toBe(url);
  });
});

describe('a mistake by which spans would go astray', () => {
  it.each([
    ...['ENDPOINT', 'TRACES_ENDPOINT'].flatMap((name) =>
      ['nonsense', 'h:4318', '//h:4318', 'grpc://h:4317', 'http://', 'http://h:port', 'http://h/#x'].map(
        (value) => [name, value, 'the URL of an OTLP/HTTP receiver'] as const,
      ),
    ),
    ...['HEADERS', 'TRACES_HEADERS'].flatMap((name) =>
      ['key', '=value', 'key=', 'a key=value', 'key=%zz', 'key=a%0Ab', 'key=ok,other'].map(
        (value) => [name, value, 'pairs as name=value'] as const,
      ),
    ),
    ...['CERTIFICATE', 'TRACES_CERTIFICATE', 'CLIENT_KEY', 'TRACES_CLIENT_CERTIFICATE'].flatMap((name) =>
      ['/nowhere/at/all', '/'].map((value) => [name, value, 'the path of a file'] as const),
    ),
  ])('is refused by name and not by value: %s = %j', (short, value, advice) => {
    const name = `OTEL_EXPORTER_OTLP_${short}`;
    expect(() => read({ [name]: value })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(advice) as string }),
    );
    expect(() => read({ [name]: value })).toThrow(new RegExp(`^${name}: must`));
  });

  it('is told with all others, and a secret is not', () => {
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://key@:0:0', OTEL_EXPORTER_OTLP_HEADERS: 'sk-secret' };
    const told = (): string => {
      try {
        tracingSettings(env);
        return '';
      } catch (error) {
        return String(error);
      }
    };
    expect(told()).toMatch(/OTEL_EXPORTER_OTLP_ENDPOINT: .*; OTEL_EXPORTER_OTLP_HEADERS: /);
    expect(told()).not.toMatch(/secret|key@/);
  });
});

describe('a value that is to be ignored, by OpenTelemetry’s specification', () => {
  const usual = read({});

  it.each([
    ['OTEL_SDK_DISABLED', 'perhaps'],
    ['OTEL_TRACES_EXPORTER', 'console'],
    ['OTEL_TRACES_SAMPLER', 'sometimes'],
    ['OTEL_TRACES_SAMPLER_ARG', '1.5'],
    ['OTEL_TRACES_SAMPLER_ARG', '-0.1'],
    ['OTEL_TRACES_SAMPLER_ARG', 'much'],
    ['OTEL_TRACES_SAMPLER_ARG', 'NaN'],
    ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc'],
    ['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'http/protobuf'],
    ['OTEL_EXPORTER_OTLP_COMPRESSION', 'zip'],
    ['OTEL_EXPORTER_OTLP_TIMEOUT', '0'],
    ['OTEL_EXPORTER_OTLP_TRACES_TIMEOUT', 'Infinity'],
    ['OTEL_RESOURCE_ATTRIBUTES', 'a=b,c'],
    ['OTEL_RESOURCE_ATTRIBUTES', 'a=%'],
    ['OTEL_BSP_MAX_QUEUE_SIZE', '1e9'],
    ['OTEL_BSP_MAX_EXPORT_BATCH_SIZE', '4096'],
    ['OTEL_BSP_SCHEDULE_DELAY', '-1'],
  ])('is, with a line that names it: %s = %s', (name, value) => {
    const { ignored, ...rest } = read({ [name]: value }) ?? {};
    expect(ignored).toEqual([expect.stringMatching(new RegExp(`^${name} is ignored: it m`))]);
    expect({ ...rest, ignored: [] }).toEqual(usual);
  });
});
