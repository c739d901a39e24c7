import { join } from 'node:path';
import { chartValues } from '../values/index.js';
import { defaults } from '../values/defaults.js';
import { jsonSchema } from './json-schema.js';
import { neededPaths } from './needed-paths.js';
import { valuesTable } from './values-table.js';
import { valuesYaml } from './values-yaml.js';

/** Of the chart. */
export const CHART = join(import.meta.dirname, '../../kvcapsule');

const TABLE = /(<!-- values -->\n)[^]*(\n<!-- end of values -->)/;

/** What is written from the schema: names of files in the chart, and their texts. */
export function documents(readme: string): Record<string, string> {
  const schema = jsonSchema(chartValues, defaults);
  return {
    'values.schema.json': `${JSON.stringify(schema, null, 2)}\n`,
    'values.yaml': valuesYaml(schema),
    'files/values.json': `${JSON.stringify(neededPaths(schema, defaults), null, 2)}\n`,
    'README.md': readme.replace(TABLE, (_all, head: string, end: string) => head + valuesTable(schema) + end),
  };
}
