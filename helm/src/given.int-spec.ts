import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { describe, expect, it } from 'vitest';
import { CHART } from './documents/index.js';
import { jsonSchema } from './documents/json-schema.js';
import { neededPaths } from './documents/needed-paths.js';
import { faultsOf, type Manifest, parse, render, tool, withValues } from './manifests/index.js';
import { CASES, GIVEN, MINIMAL } from './testing/cases.js';
import { defaults } from './values/defaults.js';
import { chartValues } from './values/index.js';

/** What the chart makes of the least values and options of Helm's command line. */
async function withOptions(...options: readonly string[]): Promise<Manifest[]> {
  return await withValues(MINIMAL, async (file) =>
    parse(await tool('helm', 'template', 'vision', CHART, '-n', 'models', '-f', file, ...options)),
  );
}

const workload = (objects: readonly Manifest[], name: string) =>
  objects.find(
    ({ kind, metadata }) => ['Deployment', 'StatefulSet'].includes(kind) && metadata.name.includes(name),
  )?.spec as { replicas?: number; template: { spec: { securityContext?: object; containers: Container[] } } };

interface Container {
  readonly resources?: object;
  readonly env: readonly { readonly name: string; readonly value?: string }[];
}

const variable = (objects: readonly Manifest[], part: string, name: string) =>
  workload(objects, part).template.spec.containers[0]?.env.find((entry) => entry.name === name)?.value;

describe('values from the command line', () => {
  it('are numbers, switches and lists as in a file', async () => {
    const objects = await withOptions(
      ...['--set', 'router.replicas=3,router.config.maxBodyMib=128,worker.config.swapMib=1000000'],
      ...['--set', 'router.config.corsOrigins={https://a.example.org,https://b.example.org}'],
      ...['--set-json', 'worker.tolerations=[{"operator":"Exists"}]'],
      ...['--set-string', 'commonLabels.revision=12'],
    );
    expect(workload(objects, 'router').replicas).toBe(3);
    expect(variable(objects, 'router', 'KVCAPSULE_MAX_BODY_MIB')).toBe('128');
    expect(variable(objects, 'router', 'KVCAPSULE_CORS_ORIGINS')).toBe(
      'https://a.example.org,https://b.example.org',
    );
    expect(variable(objects, 'worker', 'KVCAPSULE_SWAP_MIB')).toBe('1000000');
    expect(await faultsOf(objects, GIVEN)).toEqual([]);
  });

  it.each([
    [['--set-string', 'router.replicas=3'], /\/router\/replicas': got string, want integer/],
    [['--set', 'tests.completion=yes'], /\/tests\/completion': got string, want boolean/],
    [['--set-string', 'gateway.enabled=true'], /\/gateway\/enabled': got string, want boolean/],
    [['--set', 'router.podLabels.revision=12'], /\/router\/podLabels\/revision': got number, want string/],
    [['--set', 'router.config.queueSize=ten'], /\/router\/config\/queueSize': got string/],
    [['--set-json', 'gateway.paths=[]'], /\/gateway\/paths': minItems/],
    [['--set', 'router.replica=3'], /additional properties 'replica' not allowed/],
  ])('of another type are refused by their name: %j', async (options, message) => {
    await expect(withOptions(...options)).rejects.toThrow(message);
  });
});

describe('null', () => {
  const paths = neededPaths(jsonSchema(chartValues, defaults), defaults);

  it('in the place of what the chart cannot do without is refused by its name, all at one time', async () => {
    const top = paths.filter((path) => !path.includes('.'));
    const leaves = paths.filter((path) => paths.every((other) => !other.startsWith(`${path}.`)));
    for (const gone of [top, leaves]) {
      const message = await withOptions('--set', gone.map((path) => `${path}=null`).join(',')).then(
        () => 'nothing',
        (error: Error) => error.message,
      );
      expect(gone.filter((path) => !message.includes(`  - ${path}\n`))).toEqual([]);
      expect(message).toContain('leave them out, or give others');
    }
  });

  it('is told of by the outermost alone', async () => {
    const said = await withOptions('--set', 'router.probes=null').catch((error: Error) => error.message);
    expect(said).toMatch(/^ {2}- router\.probes$/m);
    expect(said).not.toContain('router.probes.');
  });

  it('takes away defaults that are Kubernetes’ own', async () => {
    const objects = await withOptions(
      ...['--set', 'worker.resources=null,router.resources.limits=null,tests.resources=null'],
      ...['--set', 'router.podSecurityContext.runAsUser=null,worker.podSecurityContext=null'],
      ...[
        '--set',
        'commonLabels=null,commonAnnotations=null,router.podLabels=null,worker.podAnnotations=null',
      ],
      ...['--set', 'router.service.annotations=null,serviceAccount.annotations=null,metrics.labels=null'],
      ...['--set', 'router.updateStrategy=null,worker.affinity=null,worker.nodeSelector=null'],
    );
    expect(workload(objects, 'worker').template.spec.containers[0]?.resources).toBeUndefined();
    expect(workload(objects, 'worker').template.spec.securityContext).toBeUndefined();
    expect(workload(objects, 'router').template.spec.containers[0]?.resources).toEqual({
      requests: { cpu: '1', memory: '1Gi' },
    });
    expect(workload(objects, 'router').template.spec.securityContext).not.toHaveProperty('runAsUser');
  });
});

describe('values of other forms', () => {
  it('may repeat themselves by anchors and merges', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'kvcapsule-anchors-'));
    const file = join(folder, 'values.yaml');
    writeFileSync(
      file,
      `models:
  - {name: one, source: &source {bundled: true}, classes: [&class {name: small, config: &config {swapMib: 64}}]}
  - {name: two, source: *source, classes: [{<<: *class, name: large, replicas: 2}]}
auth: {existingSecret: keys}
worker: {config: *config}
`,
    );
    const text = await tool('helm', 'template', 'vision', CHART, '-n', 'models', '-f', file);
    rmSync(folder, { recursive: true });
    const objects = parse(text);
    expect(await faultsOf(objects, GIVEN)).toEqual([]);
    expect(workload(objects, 'two-large').replicas).toBe(2);
    expect(variable(objects, 'two-large', 'KVCAPSULE_SWAP_MIB')).toBe('64');
  });

  it.each(['minimal', 'everything on'])('are those of a subchart beside global ones: %s', async (name) => {
    const folder = mkdtempSync(join(tmpdir(), 'kvcapsule-parent-'));
    try {
      mkdirSync(join(folder, 'charts'));
      cpSync(CHART, join(folder, 'charts/kvcapsule'), { recursive: true });
      const dependencies = [{ name: 'kvcapsule', version: '>=0.0.0' }];
      const chart = { apiVersion: 'v2', name: 'platform', version: '1.0.0', dependencies };
      writeFileSync(join(folder, 'Chart.yaml'), stringify(chart));
      const global = { imageRegistry: 'registry.example.org', storageClass: 'fast', nested: { a: [1] } };
      const objects = await render({ global, kvcapsule: CASES[name] }, { chart: folder });
      expect(await faultsOf(objects, GIVEN)).toEqual([]);
      expect(objects).toEqual(await render(CASES[name] ?? {}));
      await expect(render({ kvcapsule: { ...MINIMAL, auth: {} } }, { chart: folder })).rejects.toThrow(
        /auth\.existingSecret: name a Secret/,
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
