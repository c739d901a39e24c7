import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments, stringify } from 'yaml';
import { Cluster, killPart, ROOT } from './harness.js';

const run = promisify(execFile);
/** What the Secret holds that the pod reads its key from. */
const KEYS = 'first-key,second-key';

interface Container {
  readonly command: readonly string[];
  readonly env: readonly {
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: { readonly secretKeyRef: { readonly name: string; readonly key: string } };
  }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: {
    readonly ports?: readonly { readonly port: number }[];
    readonly containers?: readonly Container[];
    readonly volumes?: readonly { readonly name: string; readonly configMap?: { readonly name: string } }[];
  };
}

const scratch = mkdtempSync(join(tmpdir(), 'kvc-helm-test-'));
let cluster: Cluster;
let objects: Manifest[];

beforeAll(async () => {
  const { stdout: tools } = await run('sh', [join(ROOT, 'tools/fetch-helm.sh')]);
  const values = join(scratch, 'values.yaml');
  const models = [{ name: 'emoji-vlm', source: { bundled: true } }];
  writeFileSync(values, stringify({ models, auth: { existingSecret: 'keys' } }));
  const args = ['template', 'vision', join(ROOT, 'helm/kvcapsule'), '-n', 'models', '-f', values];
  const { stdout } = await run(join(tools.trim(), 'helm'), args, { maxBuffer: 1 << 26 });
  objects = parseAllDocuments(stdout).map((document) => document.toJS() as Manifest);
  const keys = KEYS.split(',').flatMap((key) => ['--api-key', key]);
  cluster = await Cluster.start({ routerArgs: keys });
}, 240_000);
afterAll(async () => {
  await cluster.stop();
  rmSync(scratch, { recursive: true, force: true });
});

/** The pod's own command, with the files that it mounts and the variables that it has; a router stands behind its Service. */
async function helmTest(keys = KEYS): Promise<{ code: number; said: string }> {
  const pod = objects.find(
    ({ kind, metadata }) => kind === 'Pod' && metadata.annotations?.['helm.sh/hook'] === 'test',
  )!;
  const { command, env, volumeMounts } = pod.spec!.containers![0]!;
  const files = (volume: string) => {
    const { configMap } = pod.spec!.volumes!.find(({ name }) => name === volume)!;
    const found = objects.find(
      ({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === configMap?.name,
    );
    return Object.entries(found?.data ?? {});
  };
  const mounted = new Map(
    volumeMounts.flatMap(({ name, mountPath }) =>
      files(name).map(([file, text]) => {
        writeFileSync(join(scratch, file), text);
        return [`${mountPath}/${file}`, join(scratch, file)];
      }),
    ),
  );
  const variables = env.map(({ name, value, valueFrom }) => {
    if (valueFrom) expect(valueFrom.secretKeyRef).toEqual({ name: 'keys', key: 'api-keys' });
    return [name, valueFrom ? keys : value];
  });
  const { ROUTER_URL: url, ...others } = Object.fromEntries(variables) as Record<string, string>;
  expect(services()).toContain(url);
  const [program = '', ...args] = command.map((word) => mounted.get(word) ?? word);
  expect(program).toBe('node');
  const options = { env: { ...others, ROUTER_URL: cluster.url }, cwd: scratch };
  return await run(process.execPath, args, options).then(
    ({ stdout }) => ({ code: 0, said: stdout }),
    ({ code, stderr }: { code: number; stderr: string }) => ({ code, said: stderr }),
  );
}

const services = () =>
  objects
    .filter(({ kind }) => kind === 'Service')
    .flatMap(({ metadata, spec }) =>
      spec!.ports!.map(({ port }) => `http://${metadata.name}:${String(port)}`),
    );

describe('the pod of helm test, before a router', () => {
  it('ends well, with a completion of each model', async () => {
    const { code, said } = await helmTest();
    expect(said).toMatch(/^emoji-vlm: [1-4] tokens$/m);
    expect(said.match(/: 200$/gm)).toHaveLength(3);
    expect(code).toBe(0);
  });

  it('fails with a key that is none of the router’s', async () => {
    const { code, said } = await helmTest('another-key');
    expect(said).toMatch(/^FAILED: \/v1\/models: 401 /);
    expect(code).toBe(1);
  });

  it('fails where no worker is left', async () => {
    await killPart(cluster.workers[0]!);
    const { code, said } = await helmTest();
    expect(said).toMatch(/^FAILED: /);
    expect(said).not.toContain('first-key');
    expect(code).toBe(1);
  }, 240_000);
});
