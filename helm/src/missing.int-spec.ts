import { describe, expect, it } from 'vitest';
import { renderText } from './manifests/index.js';
import { MINIMAL } from './testing/cases.js';
import type { ChartValues } from './values/index.js';

const model = { name: 'a', source: { bundled: true } };
const withModels = (...models: object[]): ChartValues => ({
  ...MINIMAL,
  models: models as ChartValues['models'],
});
const withSource = (source: object) => withModels({ name: 'a', source });
const withRedis = (external: object, bundled: object = { enabled: false }): ChartValues => ({
  ...MINIMAL,
  redis: { bundled, external },
});

/** Values that the schema admits and that are not enough, or too much, with what is said of them. */
const FAULTS: [string, ChartValues, RegExp][] = [
  ['no model', { auth: MINIMAL.auth }, /models: name at least one, such as/],
  ['two models of one name', withModels(model, model), /models\[1\]\.name: another model is called a, too/],
  [
    'a name that means two models',
    withModels(model, { ...model, name: 'b', aliases: ['a'] }),
    /models\[1\]: clients would mean two models by "a"; change servedName or aliases/,
  ],
  [
    'two default models',
    withModels({ ...model, default: true }, { ...model, name: 'b', default: true }),
    /models\[1\]\.default: a is the default already/,
  ],
  ['no source', withSource({}), /models\[0\]\.source: give exactly one of .*; given: none/],
  [
    'two sources',
    withSource({ bundled: true, persistentVolumeClaim: { claimName: 'a' } }),
    /models\[0\]\.source: .* given: persistentVolumeClaim, bundled/,
  ],
  [
    'a claim without its name',
    withSource({ persistentVolumeClaim: { subPath: 'a' } }),
    /models\[0\]\.source\.persistentVolumeClaim\.claimName is needed/,
  ],
  [
    'an image without its reference',
    withSource({ image: { subPath: 'a' } }),
    /source\.image\.reference is needed/,
  ],
  [
    'a download without its image',
    withSource({ download: { args: ['a'] } }),
    /source\.download\.image is needed/,
  ],
  [
    'two classes of one name',
    withModels({ ...model, classes: [{ name: 'x' }, { name: 'x' }] }),
    /models\[0\]\.classes: two are called x/,
  ],
  [
    'two classes that make one StatefulSet',
    withModels({ ...model, classes: [{ name: 'b-c' }] }, { ...model, name: 'a-b', classes: [{ name: 'c' }] }),
    /models: two classes would make the StatefulSet vision-kvcapsule-worker-a-b-c/,
  ],
  [
    'no keys',
    { models: MINIMAL.models },
    /auth\.existingSecret: name a Secret .* or set auth\.enabled=false/,
  ],
  [
    'keys twice',
    { ...MINIMAL, auth: { existingSecret: 'keys', apiKeys: ['first-key'] } },
    /auth\.apiKeys: auth\.existingSecret is given, too/,
  ],
  [
    'a Secret of which nothing is used',
    { ...MINIMAL, auth: { existingSecret: 'keys', apiKeysKey: '' } },
    /auth\.apiKeysKey: say which key/,
  ],
  ['no Redis', withRedis({}), /redis\.external\.url: say where Redis is/],
  [
    'two of Redis',
    withRedis({ url: 'redis://a' }, {}),
    /redis\.bundled\.enabled is true, too; set it to false/,
  ],
  [
    'a password of Redis without its key',
    withRedis({}, { existingSecret: 'a', passwordKey: '' }),
    /redis\.bundled\.passwordKey: say which key/,
  ],
  ['another scheme', withRedis({ url: 'http://a' }), /redis\.external\.url: its scheme is one of/],
  [
    'a password in the URL',
    withRedis({ url: 'redis://u:secret@a' }),
    /it holds a password.*use redis\.external\.passwordKey/,
  ],
  [
    'a URL twice',
    withRedis({ url: 'redis://a', existingSecret: 's', urlKey: 'k' }),
    /redis\.external\.urlKey: redis\.external\.url is given, too/,
  ],
  [
    'a key without its Secret',
    withRedis({ url: 'redis://a', passwordKey: 'k' }),
    /redis\.external\.existingSecret: name the Secret that has redis\.external\.passwordKey/,
  ],
  [
    'a certificate without its key',
    withRedis({ url: 'rediss://a', existingSecret: 's', certKey: 'k' }),
    /redis\.external\.certKey: a certificate and its key go together/,
  ],
  [
    'certificates without TLS',
    withRedis({ url: 'redis://a', existingSecret: 's', caKey: 'k' }),
    /its scheme is to begin with rediss/,
  ],
  [
    'a user of Sentinels without Sentinels',
    withRedis({ url: 'redis://a', sentinelUsername: 'u' }),
    /redis\.external\.url names no Sentinels/,
  ],
  [
    'bounds of scaling that cross',
    { ...MINIMAL, router: { autoscaling: { kind: 'hpa', minReplicas: 9, maxReplicas: 3 } } },
    /router: autoscaling\.minReplicas is above autoscaling\.maxReplicas/,
  ],
  [
    'scaling by nothing',
    { ...MINIMAL, worker: { autoscaling: { kind: 'hpa', queueSeconds: 0, kvPressure: 0 } } },
    /worker, as class default of model emoji-vlm has it: autoscaling goes by nothing/,
  ],
  [
    'KEDA without Prometheus',
    { ...MINIMAL, worker: { autoscaling: { kind: 'keda' } } },
    /metrics\.prometheusUrl: say where KEDA asks Prometheus/,
  ],
  [
    'a comma in an entry',
    { ...MINIMAL, worker: { config: { profile: ['a,b'] } } },
    /worker, .*: an entry of config\.profile has a comma/,
  ],
  [
    'a route without a Gateway',
    { ...MINIMAL, gateway: { enabled: true } },
    /gateway\.parentRefs: name the Gateway/,
  ],
];

describe('values that are missing or do not go together', () => {
  it.each(FAULTS)('%s', async (_what, values, message) => {
    await expect(renderText(values)).rejects.toThrow(message);
  });

  it('are told all at one time, and no password with them', async () => {
    const values = { redis: withRedis({ url: 'redis://u:secret@a' }).redis };
    const said = await renderText(values).catch((error: Error) => error.message);
    expect(said).toMatch(/models: [^]*auth\.existingSecret: [^]*redis\.external\.url: /);
    expect(said).not.toContain('secret@');
  });

  it('are told of a source that is not there at all by the schema', async () => {
    await expect(renderText(withModels({ name: 'a' }))).rejects.toThrow(
      /models\/0.*missing property 'source'/,
    );
  });
});
