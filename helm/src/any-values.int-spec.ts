import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jsonSchema } from './documents/json-schema.js';
import { faultsOf, type Given, type Manifest, parse, renderText } from './manifests/index.js';
import { containersOf, podsOf } from './manifests/rules/pods.js';
import { admitted, type Overrides } from './testing/arbitrary.js';
import { GIVEN } from './testing/cases.js';
import { defaults } from './values/defaults.js';
import { type ChartValues, chartValues } from './values/index.js';

const RUNS = process.env['KVCAPSULE_TEST_FULL'] ? 1_000 : 15;

const sources = fc.constantFrom(
  { bundled: true },
  { persistentVolumeClaim: { claimName: 'models', subPath: 'a/b' } },
  { image: { reference: 'registry.example.org/a:1' } },
  { download: { image: 'a', command: ['sh', '-c', 'true'], args: ['a: #b'], size: '1Gi' } },
  { volume: { csi: { driver: 'models.example.org' } } },
);

const accesses = fc.constantFrom<NonNullable<ChartValues['auth']>[]>(
  { enabled: false },
  { apiKeys: ['first-key'] },
  { existingSecret: 'keys', adminApiKeysKey: 'admin-keys' },
  { existingSecret: 'keys', apiKeysKey: '', tenantsKey: 'tenants.json' },
);

const stores = fc.constantFrom(
  {},
  { url: 'redis://store:6380/2' },
  { url: 'rediss://user@store', existingSecret: 'store', caKey: 'ca.crt', passwordKey: 'password' },
  { url: 'redis-sentinel://s1,s2:26380/primary', sentinelUsername: 'a' },
  { url: 'redis-cluster://c1,c2' },
);

/** What values have to have in common, which the schema cannot say. */
const OVERRIDES: Overrides = {
  'models[].source': sources,
  'models[].previousSource': sources,
  auth: accesses,
  'redis.external': fc.constant({}),
  'redis.bundled.existingSecret': fc.constantFrom('', 'store'),
  'redis.bundled.passwordKey': fc.constant('password'),
  'metrics.prometheusUrl': fc.constant('http://prometheus:9090'),
  'gateway.parentRefs': fc.constant([{ name: 'public' }]),
  'router.config.placementWeights': fc.subarray(['picture=3', 'load=0.5']),
  'router.config.allowImageHosts': fc.subarray(['pictures.example.org', 'other.example.org']),
  ...Object.fromEntries(
    ['router', 'worker', 'models[].classes[]'].flatMap((part): [string, fc.Arbitrary<unknown>][] => [
      [`${part}.autoscaling.minReplicas`, fc.integer({ min: 1, max: 4 })],
      [`${part}.autoscaling.maxReplicas`, fc.integer({ min: 4, max: 9 })],
      [`${part}.autoscaling.cpuUtilization`, fc.integer({ min: 1, max: 100 })],
      [`${part}.config.profile`, fc.subarray(['/profiles/a', '/profiles/b'])],
    ]),
  ),
  global: fc.constant({}),
};

type Model = NonNullable<ChartValues['models']>[number];

const schema = jsonSchema(chartValues, defaults);

const values = fc
  .tuple(
    admitted(schema, OVERRIDES),
    fc.uniqueArray(models(), { minLength: 1, maxLength: 2, selector: ({ name }) => name }),
    accesses,
    stores,
  )
  .map(([any, named, auth, external]) =>
    withStore({ ...(any as ChartValues), models: named.map(alone), auth }, external),
  );

function models(): fc.Arbitrary<Model> {
  return admitted(schema.properties?.['models']?.items ?? {}, OVERRIDES, 'models[]') as fc.Arbitrary<Model>;
}

/** One default at most, and names for clients that two models do not share. */
const alone = (model: Model, index: number): Model => ({
  ...model,
  default: index === 0,
  servedName: `model "${index}"`,
  aliases: [],
});

function withStore(all: ChartValues, external: object): object {
  const isExternal = 'url' in external;
  return { ...all, redis: { bundled: { ...all.redis?.bundled, enabled: !isExternal }, external } };
}

/** Secrets, as far as objects name them: what is the user's own is there. */
function givenFor(objects: readonly Manifest[]): Given {
  const volumes = podsOf(objects).flatMap(({ spec }) => spec.volumes ?? []);
  const secrets = volumes.flatMap(({ secret }) => (secret ? [`Secret ${secret.secretName}`] : []));
  const variables = containersOf(objects).flatMap(({ container }) => container.env ?? []);
  const keys = variables.flatMap(({ valueFrom }) =>
    valueFrom?.secretKeyRef ? [`Secret ${valueFrom.secretKeyRef.name}`] : [],
  );
  return {
    secrets: GIVEN.secrets,
    others: [...GIVEN.others, ...secrets, ...keys.filter((key) => !key.endsWith('-api-keys'))],
  };
}

describe('any values that the schema admits', () => {
  it('are rendered to objects that a server takes, or refused by name', async () => {
    let rendered = 0;
    await fc.assert(
      fc.asyncProperty(values, async (any) => {
        const text = await renderText(any).catch((error: Error) => error);
        if (text instanceof Error) {
          expect(text.message).toMatch(/values are missing or do not go together/);
          return;
        }
        rendered += 1;
        const objects = parse(text);
        expect(await faultsOf(objects, givenFor(objects))).toEqual([]);
      }),
      { seed: 20_261_130, numRuns: RUNS, endOnFailure: true },
    );
    expect(rendered).toBeGreaterThan(RUNS / 2);
  }, 900_000);
});
