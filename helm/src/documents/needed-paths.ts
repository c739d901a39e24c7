import { isSection, type JsonSchema } from './json-schema.js';

/**
 * Paths of the values that the chart cannot do without: all that have a default, other than objects of Kubernetes' own
 * form and labels, of which null takes away what stands in them.
 */
export function neededPaths(schema: JsonSchema, defaults: object, above = ''): string[] {
  return Object.entries(defaults).flatMap(([key, value]) => {
    const path = `${above}${key}`;
    const field = schema.properties?.[key] ?? {};
    if (isSection(field)) return [path, ...neededPaths(field, value as object, `${path}.`)];
    return field.type === 'object' ? [] : [path];
  });
}
