import type { Manifest } from '../helm.js';
import { containerFaults } from './containers.js';
import { nameFaults } from './names.js';
import { referenceFaults } from './references.js';
import { scalingFaults } from './scaling.js';
import { securityFaults } from './security.js';

/**
 * What an API server, or a cluster that enforces the pod security standard `restricted`, would refuse of the objects
 * together, and what would be accepted and never work.
 *
 * @param given objects of the user's own, as `Secret NAME`
 */
export const ruleFaults = (objects: readonly Manifest[], given: ReadonlySet<string>): string[] => [
  ...nameFaults(objects),
  ...containerFaults(objects),
  ...securityFaults(objects),
  ...referenceFaults(objects, given),
  ...scalingFaults(objects),
];
