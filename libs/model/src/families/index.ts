import { KvcError } from '@kvcapsule/contracts';
import type { FamilySpec } from './family.js';
import { IDEFICS3 } from './idefics3/index.js';

/** Every family that is served. A new one is a folder beside this file and a line here. */
const FAMILIES: readonly FamilySpec[] = [IDEFICS3];

export const MODEL_TYPES: readonly string[] = FAMILIES.flatMap(({ modelTypes }) => modelTypes);

/** The family of a `model_type`. */
export function familyOf(modelType: string): FamilySpec | undefined {
  return FAMILIES.find(({ modelTypes }) => modelTypes.includes(modelType));
}

/** The family of a name that one of them has. */
export function familyNamed(name: string): FamilySpec {
  const family = FAMILIES.find((each) => each.name === name);
  if (family === undefined) throw new KvcError('INTERNAL', `no family is named ${name}`);
  return family;
}

export type * from './family.js';
export { eosTokenId, tokenId } from './fields.js';
