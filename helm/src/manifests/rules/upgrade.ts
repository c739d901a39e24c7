import { isDeepStrictEqual } from 'node:util';
import type { Manifest } from '../helm.js';

/** Fields that an API server does not let change, by kind. */
const IMMUTABLE: Readonly<Record<string, readonly string[]>> = {
  Deployment: ['selector'],
  StatefulSet: ['selector', 'serviceName', 'volumeClaimTemplates', 'podManagementPolicy'],
  Service: ['clusterIP'],
  PersistentVolumeClaim: ['accessModes', 'storageClassName', 'volumeName', 'volumeMode'],
};

/** What of an upgrade from one rendering to the other an API server would refuse. */
export function upgradeFaults(before: readonly Manifest[], after: readonly Manifest[]): string[] {
  return before.flatMap((old) => {
    const now = after.find(({ kind, metadata }) => kind === old.kind && metadata.name === old.metadata.name);
    const changed = (IMMUTABLE[old.kind] ?? []).filter(
      (field) => now !== undefined && !isDeepStrictEqual(old.spec?.[field], now.spec?.[field]),
    );
    return changed.map((field) => `${old.kind} ${old.metadata.name}: ${field} cannot be changed`);
  });
}
