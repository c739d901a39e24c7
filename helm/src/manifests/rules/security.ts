import type { Manifest } from '../helm.js';
import { allContainers, type Container, type Pod, podsOf } from './pods.js';

/** Kinds of volumes that the pod security standard `restricted` lets through; image volumes are among them. */
const VOLUMES = new Set([
  ...['configMap', 'csi', 'downwardAPI', 'emptyDir', 'ephemeral', 'persistentVolumeClaim', 'projected'],
  ...['secret', 'image'],
]);

/** What the pod security standard `restricted` refuses, and a root file system that can be written to. */
export function securityFaults(objects: readonly Manifest[]): string[] {
  return podsOf(objects).flatMap((pod) => [
    ...podFaults(pod),
    ...allContainers(pod).flatMap((container) => containerFaults(pod, container)),
  ]);
}

function podFaults({ at, spec }: Pod): string[] {
  const volumes = (spec.volumes ?? [])
    .flatMap((volume) => Object.keys(volume))
    .filter((key) => key !== 'name');
  return [
    ...(spec.hostNetwork || spec.hostPID || spec.hostIPC ? [`${at}: shares what is the node’s`] : []),
    ...(spec.automountServiceAccountToken === false ? [] : [`${at}: mounts a token that nobody uses`]),
    ...(spec.enableServiceLinks === false ? [] : [`${at}: gets variables that are called as settings are`]),
    ...volumes.filter((kind) => !VOLUMES.has(kind)).map((kind) => `${at}: a volume of kind ${kind}`),
  ];
}

function containerFaults({ at, spec }: Pod, container: Container): string[] {
  const of = { ...spec.securityContext, ...container.securityContext };
  const seccomp = of.seccompProfile?.type ?? '';
  const added = (of.capabilities?.add ?? []).filter((name) => name !== 'NET_BIND_SERVICE');
  const faults = [
    ...(of.runAsNonRoot === true && of.runAsUser !== 0 ? [] : ['may run as root']),
    ...(of.privileged === true ? ['is privileged'] : []),
    ...(of.allowPrivilegeEscalation === false ? [] : ['may gain privileges']),
    ...(of.capabilities?.drop?.includes('ALL') && added.length === 0 ? [] : ['keeps capabilities']),
    ...(['RuntimeDefault', 'Localhost'].includes(seccomp) ? [] : ['has no seccomp profile']),
    ...(of.readOnlyRootFilesystem === true ? [] : ['writes to its root file system']),
  ];
  return faults.map((fault) => `${at}, container ${container.name}: ${fault}`);
}
