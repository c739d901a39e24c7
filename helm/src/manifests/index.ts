import type { Manifest } from './helm.js';
import { ruleFaults } from './rules/index.js';
import { schemaFaults } from './schemas.js';
import { type GivenSecrets, settingFaults } from './settings.js';

export { type Manifest, parse, render, renderText, tool, withValues } from './helm.js';
export { keptOf, upgradeFaults } from './rules/upgrade.js';

/** What is the user's own, beside the chart: contents of Secrets by `NAME/KEY`, and names of claims. */
export interface Given {
  readonly secrets: GivenSecrets;
  readonly others: readonly string[];
}

/** Everything that is known to be wrong with objects before a cluster sees them. */
export async function faultsOf(objects: readonly Manifest[], { secrets, others }: Given): Promise<string[]> {
  const names = Object.keys(secrets).map((key) => `Secret ${key.slice(0, key.indexOf('/'))}`);
  const schemas = (await Promise.all(objects.map(schemaFaults))).flat();
  // rules read fields as what the schemas say they are
  if (schemas.length > 0) return schemas;
  return [...ruleFaults(objects, new Set([...names, ...others])), ...settingFaults(objects, secrets)];
}
