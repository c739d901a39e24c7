import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { METRICS } from '@kvcapsule/platform/telemetry';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { CHART } from './documents/index.js';
import { faultsOf, type Manifest, render, tool, withValues } from './manifests/index.js';
import { GIVEN, MINIMAL } from './testing/cases.js';
import type { ChartValues } from './values/index.js';

const ROOT = resolve(CHART, '../..');
const GUIDE = readFileSync(resolve(ROOT, 'docs/guides/kubernetes.md'), 'utf8');
const README = readFileSync(resolve(CHART, 'README.md'), 'utf8');

const blocks = (text: string, language: string) =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, 'gm'))].map(([, block = '']) => block);

/** Commands of a text, a line each; shells' own quoting is that of words here. */
const commands = [GUIDE, README].flatMap((text) =>
  blocks(text, 'sh').flatMap((block) => block.replaceAll('\\\n', ' ').split('\n').filter(Boolean)),
);

const words = (command: string) =>
  [...command.replaceAll(/\$\([^)]*\)/g, 'made').matchAll(/'([^']*)'|(\S+)/g)].map(
    ([, quoted, bare]) => quoted ?? bare ?? '',
  );

/** What kubectl and Helm say when all was understood and only the cluster is not there. */
const NO_CLUSTER = /connection refused|was refused|cluster unreachable|localhost:8080/;

async function runs(program: 'helm' | 'kubectl', args: readonly string[]): Promise<string> {
  const at = args.map((arg) => (arg === 'helm/kvcapsule' ? CHART : arg));
  return tool(program, ...at).catch((error: Error) => error.message);
}

/** Objects that a command names as `deployment/NAME`. */
const named = (args: readonly string[]) =>
  args.flatMap((arg) => {
    const [, kind, name] = /^(deployment|statefulset|service)\/([\w-]+)$/.exec(arg) ?? [];
    return kind === undefined ? [] : [`${kind} ${name}`];
  });

describe('the commands of the guide', () => {
  it.each(commands.map((command) => [command]))('%s', async (command) => {
    const [program = '', ...args] = words(command);
    if (program === 'helm' && (args[0] === 'install' || args[0] === 'upgrade')) {
      const flags = args.slice(1).filter((arg) => arg !== '--reuse-values');
      const given = command.includes('models[0]') ? {} : MINIMAL;
      const said = await withValues(given, (file) => runs('helm', ['template', ...flags, '-f', file]));
      expect(said).toMatch(/^---\n/);
      return;
    }
    expect(['helm', 'kubectl']).toContain(program);
    expect(await runs(program as 'helm', args)).toMatch(NO_CLUSTER);
    const there = (await render(MINIMAL)).map(
      ({ kind, metadata }) => `${kind.toLowerCase()} ${metadata.name}`,
    );
    expect(there).toEqual(expect.arrayContaining(named(args)));
  });

  it('are not understood when they are misspelt', async () => {
    expect(await runs('kubectl', ['rollout', 'statsu', 'deployment/a'])).not.toMatch(NO_CLUSTER);
    expect(await runs('kubectl', ['get', 'pods', '--no-such-flag'])).not.toMatch(NO_CLUSTER);
    expect(await runs('helm', ['history', 'a', '--no-such-flag'])).not.toMatch(NO_CLUSTER);
  });
});

const ADAPTER = '# values of prometheus-adapter';
const all = blocks(GUIDE, 'yaml');

/** What of the user's own the guide names. */
const given = { ...GIVEN, secrets: { ...GIVEN.secrets, 'hf-token/HF_TOKEN': 'x' } };

describe('the values of the guide', () => {
  const examples = all
    .filter((block) => !block.startsWith(ADAPTER))
    .map((block) => parse(block) as ChartValues);

  it.each(examples.map((values) => [Object.keys(values).join(' and '), values] as const))(
    '%s',
    async (_name, values) => {
      expect(await faultsOf(await render({ ...MINIMAL, ...values }), given)).toEqual([]);
    },
  );

  it('go together', async () => {
    const values = Object.assign({}, MINIMAL, ...examples) as ChartValues;
    expect(await faultsOf(await render(values), given)).toEqual([]);
  });
});

const SERIES = new Set(
  Object.values(METRICS).flatMap((part) =>
    Object.values(part).flatMap(({ name, type }: { name: string; type: string }) =>
      type === 'histogram' ? ['bucket', 'sum', 'count'].map((end) => `${name}_${end}`) : [name],
    ),
  ),
);

const unknownSeries = (query: string) =>
  [...query.matchAll(/kvcapsule_(router|worker)_\w+/g)]
    .map(([name]) => name)
    .filter((name) => !SERIES.has(name));

interface AdapterRule {
  readonly name: { readonly as: string };
  readonly seriesQuery: string;
  readonly metricsQuery: string;
}

interface ScalerSpec {
  readonly metrics?: readonly {
    readonly external?: { readonly metric: { readonly name: string } };
    readonly pods?: { readonly metric: { readonly name: string } };
  }[];
  readonly triggers?: readonly { readonly metadata: { readonly query?: string } }[];
}

const specs = (objects: readonly Manifest[], of: string) =>
  objects.filter(({ kind }) => kind === of).map(({ spec }) => spec as ScalerSpec);

describe('scaling', () => {
  const scaled = { ...MINIMAL, metrics: { prometheusUrl: 'http://prometheus:9090' } };
  const adapter = parse(all.find((block) => block.startsWith(ADAPTER)) ?? '') as {
    rules: { external: AdapterRule[]; custom: AdapterRule[] };
  };

  it('by KEDA asks for series that there are', async () => {
    const objects = await render({ ...scaled, worker: { autoscaling: { kind: 'keda' } } });
    const queries = specs(objects, 'ScaledObject').flatMap(({ triggers = [] }) =>
      triggers.map(({ metadata }) => metadata.query ?? ''),
    );
    expect(queries).toHaveLength(2);
    expect(queries.flatMap(unknownSeries)).toEqual([]);
  });

  it('by HPA asks for what the adapter of the guide makes of series that there are', async () => {
    const objects = await render({ ...scaled, worker: { autoscaling: { kind: 'hpa' } } });
    const [{ metrics = [] } = {}] = specs(objects, 'HorizontalPodAutoscaler');
    const { external, custom } = adapter.rules;
    expect(metrics.flatMap((metric) => metric.external?.metric.name ?? [])).toEqual(
      external.map(({ name }) => name.as),
    );
    expect(metrics.flatMap((metric) => metric.pods?.metric.name ?? [])).toEqual(
      custom.map(({ name }) => name.as),
    );
    const queries = [...external, ...custom].flatMap(({ seriesQuery, metricsQuery }) => [
      seriesQuery,
      metricsQuery,
    ]);
    expect(queries.flatMap(unknownSeries)).toEqual([]);
  });
});
