import type { Manifest } from './helm.js';
import { KINDS } from './kinds.js';
import { unknownFields } from './known-fields.js';

type Validator = new (data: unknown) => { validate(): void };

/** What is wrong with an object by the published schemas of its kind: types, required fields, patterns, unknown fields. */
export async function schemaFaults(object: Manifest): Promise<string[]> {
  const kind = `${object.apiVersion}/${object.kind}`;
  const at = `${object.kind} ${object.metadata.name}`;
  const module = KINDS[kind];
  if (module === undefined) return [`${at}: ${kind} is no kind of the chart`];
  const faults = unknownFields(kind, object);
  try {
    const { [object.kind]: Model } = (await import(module)) as Record<string, Validator>;
    if (Model === undefined) throw new Error(`${module} has no ${object.kind}`);
    new Model(object).validate();
  } catch (error) {
    faults.push((error as Error).message);
  }
  return faults.map((fault) => `${at}: ${fault}`);
}
