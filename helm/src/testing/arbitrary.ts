import fc, { type Arbitrary } from 'fast-check';
import type { JsonSchema } from '../documents/json-schema.js';

/** Values that take the place of what a schema alone would give, by the path of the value. */
export type Overrides = Readonly<Record<string, Arbitrary<unknown>>>;

/** What has no pattern: letters with a meaning to YAML and to templates among them. */
const TEXT = fc.string({ unit: 'grapheme-ascii', maxLength: 20 });
/** Numbers beyond are of no use, and small ones meet their bounds more often. */
const MOST = 100_000;

/** Values that the schema admits. Objects of Kubernetes' own form are the examples that the schema gives. */
export function admitted(schema: JsonSchema, overrides: Overrides, path = ''): Arbitrary<unknown> {
  const own = overrides[path];
  if (own !== undefined) return own;
  if (schema.examples) return fc.constantFrom(...schema.examples);
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if ('const' in schema) return fc.constant(schema.const);
  if (schema.anyOf) return fc.oneof(...schema.anyOf.map((option) => admitted(option, overrides, path)));
  switch (schema.type) {
    case 'boolean':
      return fc.boolean();
    case 'integer':
      return fc.integer(bounds(schema));
    case 'number':
      return fc.double({ ...bounds(schema), noNaN: true });
    case 'string':
      return text(schema);
    case 'array':
      return list(schema, overrides, path);
    default:
      return schema.properties ? record(schema, overrides, path) : fc.constant({});
  }
}

function bounds({ minimum = 0, maximum = MOST }: JsonSchema): { min: number; max: number } {
  return { min: minimum, max: Math.max(minimum, Math.min(maximum, MOST)) };
}

function text({ pattern, minLength = 0, maxLength = 253 }: JsonSchema): Arbitrary<string> {
  const any = pattern === undefined ? TEXT : fc.stringMatching(new RegExp(pattern), { size: 'small' });
  return any.filter(({ length }) => length >= minLength && length <= maxLength);
}

function list(
  { items = {}, minItems = 0 }: JsonSchema,
  overrides: Overrides,
  path: string,
): Arbitrary<unknown[]> {
  if (items.examples?.length === 0) return fc.constant([]);
  const selector = (value: unknown) => JSON.stringify((value as { name?: string }).name ?? value);
  const most = Math.max(minItems, items.examples?.length ?? 2);
  return fc.uniqueArray(admitted(items, overrides, `${path}[]`), {
    minLength: minItems,
    maxLength: most,
    selector,
  });
}

function record(schema: JsonSchema, overrides: Overrides, path: string): Arbitrary<object> {
  const model = Object.fromEntries(
    Object.entries(schema.properties ?? {}).map(([key, field]) => [
      key,
      admitted(field, overrides, path === '' ? key : `${path}.${key}`),
    ]),
  );
  return fc.record(model, { requiredKeys: [...(schema.required ?? [])] });
}
