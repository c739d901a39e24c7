import type { Manifest } from '../helm.js';
import { type Container, containersOf, doubles, podsOf, type Probe } from './pods.js';
import { quantityOf } from './quantity.js';

const PORT_NAME = /^(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$/;
const ENV_NAME = /^[-._a-zA-Z][-._a-zA-Z0-9]*$/;

/** Ports, variables, mounts, probes and resources of containers. */
export function containerFaults(objects: readonly Manifest[]): string[] {
  return [
    ...podsOf(objects).flatMap((pod) => {
      const volumes = (pod.spec.volumes ?? []).map(({ name }) => name);
      const names = [...(pod.spec.initContainers ?? []), ...pod.spec.containers].map(({ name }) => name);
      return [...doubles(volumes), ...doubles(names)].map((name) => `${pod.at}: ${name} is there twice`);
    }),
    ...containersOf(objects).flatMap(({ pod, container, at }) => {
      const volumes = new Set((pod.spec.volumes ?? []).map(({ name }) => name));
      return [
        ...portFaults(container),
        ...envFaults(container),
        ...mountFaults(container, volumes),
        ...probeFaults(container),
        ...resourceFaults(container),
      ].map((fault) => `${at}: ${fault}`);
    }),
  ];
}

function portFaults({ ports = [] }: Container): string[] {
  const names = ports.flatMap(({ name }) => (name === undefined ? [] : [name]));
  return [
    ...names.filter((name) => !PORT_NAME.test(name)).map((name) => `${name} is no name of a port`),
    ...doubles(names).map((name) => `port ${name} is there twice`),
    ...doubles(ports.map(({ containerPort }) => containerPort)).map((port) => `port ${port} is there twice`),
  ];
}

function envFaults({ env = [] }: Container): string[] {
  const names = env.map(({ name }) => name);
  const later = env.flatMap(({ value = '' }, index) =>
    [...value.matchAll(/\$\(([^)]+)\)/g)]
      .filter(([, name]) => !names.slice(0, index).includes(name ?? ''))
      .map(([, name]) => `$(${name}) is not set before it is used`),
  );
  return [
    ...names.filter((name) => !ENV_NAME.test(name)).map((name) => `${name} is no name of a variable`),
    ...doubles(names).map((name) => `variable ${name} is there twice`),
    ...env
      .filter(({ value, valueFrom }) => value !== undefined && valueFrom)
      .map(({ name }) => `variable ${name} has two values`),
    ...later,
  ];
}

function mountFaults({ volumeMounts = [] }: Container, volumes: ReadonlySet<string>): string[] {
  return [
    ...volumeMounts.filter(({ name }) => !volumes.has(name)).map(({ name }) => `there is no volume ${name}`),
    ...doubles(volumeMounts.map(({ mountPath }) => mountPath)).map((path) => `${path} is mounted twice`),
    ...volumeMounts
      .filter(({ mountPath }) => !mountPath.startsWith('/'))
      .map(({ mountPath }) => `${mountPath} is relative`),
  ];
}

function probeFaults(container: Container): string[] {
  const ports = container.ports ?? [];
  const known = new Set<number | string>(
    ports.flatMap(({ name, containerPort }) => [name ?? '', containerPort]),
  );
  const probes = {
    startup: container.startupProbe,
    liveness: container.livenessProbe,
    readiness: container.readinessProbe,
  };
  return Object.entries(probes).flatMap(([kind, probe]) =>
    probe === undefined ? [] : boundFaults(kind, probe, known).map((fault) => `${kind} probe: ${fault}`),
  );
}

function boundFaults(kind: string, probe: Probe, ports: ReadonlySet<number | string>): string[] {
  const {
    httpGet,
    tcpSocket,
    grpc,
    exec,
    periodSeconds = 10,
    timeoutSeconds = 1,
    failureThreshold = 3,
  } = probe;
  const port = httpGet?.port ?? tcpSocket?.port ?? grpc?.port;
  const kinds = [httpGet, tcpSocket, grpc, exec].filter((way) => way !== undefined);
  return [
    ...(kinds.length === 1 ? [] : ['asks in more or less than one way']),
    ...(port === undefined || ports.has(port) ? [] : [`the container has no port ${port}`]),
    ...([periodSeconds, timeoutSeconds, failureThreshold].every(
      (bound) => Number.isInteger(bound) && bound >= 1,
    )
      ? []
      : ['periods, time-outs and thresholds are 1 at least']),
    ...(kind !== 'readiness' && (probe.successThreshold ?? 1) !== 1 ? ['successThreshold is 1 here'] : []),
    ...((probe.initialDelaySeconds ?? 0) < 0 ? ['initialDelaySeconds is below 0'] : []),
  ];
}

const MUST_BE_EQUAL = (resource: string) => resource.includes('/') || resource.startsWith('hugepages-');

function resourceFaults({ resources }: Container): string[] {
  const { requests = {}, limits = {} } = resources ?? {};
  const amounts = [...Object.entries(requests), ...Object.entries(limits)];
  const above = Object.entries(requests).filter(([resource, amount]) => {
    const limit = limits[resource];
    return limit !== undefined && (quantityOf(amount) ?? 0) > (quantityOf(limit) ?? 0);
  });
  const special = [...new Set(amounts.map(([resource]) => resource))].filter(MUST_BE_EQUAL);
  const unlimited = special.filter((resource) => limits[resource] === undefined);
  const unequal = special.filter((resource) => (requests[resource] ?? limits[resource]) !== limits[resource]);
  const alone =
    special.some((resource) => resource.startsWith('hugepages-')) &&
    !hasCpuOrMemory({ ...requests, ...limits });
  return [
    ...above.map(([resource]) => `more ${resource} is requested than the limit`),
    ...unlimited.map((resource) => `${resource} has no limit`),
    ...unequal.map((resource) => `request and limit of ${resource} differ`),
    ...(alone ? ['huge pages need cpu or memory beside them'] : []),
  ];
}

const hasCpuOrMemory = (amounts: object) => 'cpu' in amounts || 'memory' in amounts;
