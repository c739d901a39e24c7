import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseConfig, type Part, VARIABLES } from '@kvcapsule/platform/config';
import { readSettings } from '@kvcapsule/router/config';
import { workerConfigSchema } from '@kvcapsule/worker/config';
import type { Manifest } from './helm.js';
import { type Container, containersOf, type EnvVar, type Pod } from './rules/pods.js';
import { quantityOf } from './rules/quantity.js';

/** Contents of Secrets of the user's own, by `NAME/KEY`. */
export type GivenSecrets = Readonly<Record<string, string>>;

/** What fields of the downward API stand for in a pod. */
const DOWNWARD: Readonly<Record<string, string>> = {
  'metadata.name': 'vision-worker-0',
  'status.podIP': '10.1.2.3',
};

const OWN = /^KVCAPSULE_/;

/**
 * Starts of router and workers as far as their settings go: the variables of a container are handed to the part's own
 * parser, with the files that they name. What it refuses, and variables that it does not know, are faults.
 */
export function settingFaults(objects: readonly Manifest[], secrets: GivenSecrets): string[] {
  return containersOf(objects).flatMap(({ pod, container, at }) => {
    if (container.name !== 'router' && container.name !== 'worker') return [];
    const part: Part = container.name;
    const names = (container.env ?? []).map(({ name }) => name).filter((name) => OWN.test(name));
    const known = new Set<string>(VARIABLES[part].map((name) => `KVCAPSULE_${name}`));
    const unknown = names.filter((name) => !known.has(name)).map((name) => `${at}: ${name} is no setting`);
    const root = mkdtempSync(join(tmpdir(), 'kvcapsule-pod-'));
    try {
      mountFiles(root, pod, objects, secrets);
      return [
        ...unknown,
        ...refusal(part, environment(root, container, objects, secrets)).map((why) => `${at}: ${why}`),
      ];
    } finally {
      rmSync(root, { recursive: true });
    }
  });
}

function refusal(part: Part, env: Record<string, string>): string[] {
  try {
    if (part === 'router') readSettings([], env);
    else parseConfig({ schema: workerConfigSchema, argv: [], env, name: 'worker' });
    return [];
  } catch (error) {
    return [(error as Error).message];
  }
}

/** Files of ConfigMaps and Secrets, below `root` as they are below a container's. */
function mountFiles(root: string, { spec }: Pod, objects: readonly Manifest[], secrets: GivenSecrets): void {
  const [container] = spec.containers;
  for (const { name, mountPath } of container?.volumeMounts ?? []) {
    const volume = spec.volumes?.find((each) => each.name === name);
    const map = objects.find(
      ({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === volume?.configMap?.name,
    );
    for (const [key, text] of Object.entries(map?.data ?? {})) write(join(root, mountPath, key), text);
    for (const { key, path } of volume?.secret?.items ?? [])
      write(join(root, mountPath, path), secrets[`${volume?.secret?.secretName}/${key}`] ?? '');
  }
}

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** The variables of a container as its process gets them; paths of mounted files lead below `root`. */
function environment(
  root: string,
  container: Container,
  objects: readonly Manifest[],
  secrets: GivenSecrets,
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const variable of container.env ?? []) {
    const value = valueOf(variable, container, objects, secrets);
    env[variable.name] = value
      // brackets are for pods of IPv6
      .replaceAll('[$(POD_IP)]', '[fd00::1:3]')
      .replaceAll(/\$\(([^)]+)\)/g, (all, name: string) => env[name] ?? all)
      .replace(/^\/etc\/kvcapsule\//, `${root}/etc/kvcapsule/`);
  }
  return env;
}

function valueOf(
  { value = '', valueFrom }: EnvVar,
  { resources }: Container,
  objects: readonly Manifest[],
  secrets: GivenSecrets,
): string {
  if (valueFrom === undefined) return value;
  const { secretKeyRef, fieldRef, resourceFieldRef } = valueFrom;
  if (fieldRef) return DOWNWARD[fieldRef.fieldPath] ?? '';
  if (resourceFieldRef) {
    const limit = resources?.limits?.[resourceFieldRef.resource.replace('limits.', '')] ?? 0;
    return String(Math.ceil(quantityOf(limit) ?? 0));
  }
  if (secretKeyRef === undefined) return '';
  const { name, key } = secretKeyRef;
  const own = objects.find(({ kind, metadata }) => kind === 'Secret' && metadata.name === name)?.data?.[key];
  return secrets[`${name}/${key}`] ?? Buffer.from(own ?? '', 'base64').toString();
}
